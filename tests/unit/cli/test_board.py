from pathlib import Path

import pytest

from relay.base.errors import ConfigError
from relay.base.typed_toml import parse_table, read_toml
from relay.box.profile import Profile
from relay.cli import board


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """Return the root of a Raspberry Pi 3B+ as its kernel shows it."""
    for name, content in {
        "proc/device-tree/compatible": b"raspberrypi,3-model-b-plus\0brcm,bcm2837\0",
        "proc/device-tree/model": b"Raspberry Pi 3 Model B Plus Rev 1.3\0",
        "sys/class/leds/PWR/brightness": b"255\n",
        "sys/class/leds/led0/brightness": b"0\n",
        "sys/class/thermal/thermal_zone0/type": b"cpu-thermal\n",
        "dev/hwrng": b"",
        "dev/ttyS1": b"",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_the_board_is_named_with_its_lines_and_light(pi: Path) -> None:
    found = board.describe(None, pi)
    assert found["profile"] == "raspberry-pi-3b-plus"
    assert found["light"] == "led0"
    assert [(port["dev"], port["present"]) for port in found["console"]][:2] == [
        ("/dev/serial0", False),
        ("/dev/ttyS1", True),
    ]
    lines = board.render(found)
    assert lines[0] == "profile: raspberry-pi-3b-plus: Raspberry Pi 3 Model B+"
    assert "console: /dev/serial0 (not there), /dev/ttyS1, /dev/ttyUSB0 (not there)" in lines


def test_the_override_beside_the_settings_counts(pi: Path) -> None:
    (pi / "profile.toml").write_text('[leds]\nstatus = ["PWR"]\n')
    assert board.describe(pi, pi)["light"] == "PWR"
    (pi / "profile.toml").write_text("[lamps]\n")
    with pytest.raises(ConfigError, match="unknown section lamps"):
        board.describe(pi, pi)


def test_a_probed_profile_can_be_loaded(pi: Path) -> None:
    (pi / "candidate.toml").write_text(board.probe(pi))
    profile = parse_table(Profile, read_toml(pi / "candidate.toml"))
    assert profile.board.match_compatible == ("raspberrypi,3-model-b-plus",)
    assert profile.leds.status == ("PWR", "led0")
    assert (profile.hwrng, profile.rtc.present) == (True, False)


def test_a_machine_that_tells_nothing_can_be_probed_too(tmp_path: Path) -> None:
    (tmp_path / "candidate.toml").write_text(board.probe(tmp_path))
    assert parse_table(Profile, read_toml(tmp_path / "candidate.toml")).board.name == "unknown board"
