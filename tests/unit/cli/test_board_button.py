from pathlib import Path

import pytest

from relay.box.board import own_profile
from relay.box.button import EventDevice, find_button
from relay.cli.board_button import find_board_button, shares_its_line
from tests.fakes.input_device import FakeInputDevice


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a board whose kernel shows a button and a light."""
    (tmp_path / "dev/input").mkdir(parents=True)
    (tmp_path / "dev/input/event0").touch()
    (tmp_path / "sys/class/leds/ACT").mkdir(parents=True)
    (tmp_path / "sys/class/leds/ACT/trigger").write_text("[none] timer\n")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/profile.toml").write_text(
        '[button]\nsource = "evdev"\ndevice = "/dev/input/event0"\nkey = 141\n[leds]\nstatus = ["PWR", "ACT"]\n'
    )
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/compatible").write_bytes(b"linux,dummy-virt\0")
    return tmp_path


def test_the_profile_names_button_and_light(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeInputDevice()
    opened: list[Path] = []

    def open_device(path: Path) -> FakeInputDevice:
        opened.append(path)
        return device

    monkeypatch.setattr("relay.box.button.EventDevice", open_device)
    found = find_board_button(root / "state", root)
    assert found is not None
    assert opened == [find_button(own_profile(root / "state", root)[1].button, root)]
    assert found.lock == opened[0]
    found.button.close()


def test_a_button_that_is_not_there_or_may_not_be_read_is_none(root: Path) -> None:
    with pytest.raises(OSError, match="ioctl"):
        EventDevice(root / "dev/input/event0")
    assert find_board_button(root / "state", root) is None
    (root / "dev/input/event0").unlink()
    assert find_board_button(root / "state", root) is None
    (root / "state/profile.toml").write_text("nonsense")
    assert find_board_button(root / "state", root) is None


def test_the_profile_says_whether_the_line_is_shared_with_the_kernel(root: Path) -> None:
    assert not shares_its_line(root / "state", root)
    (root / "state/profile.toml").write_text("shared_console = true\n")
    assert shares_its_line(root / "state", root)
    (root / "state/profile.toml").write_text("nonsense")
    assert not shares_its_line(root / "state", root)
