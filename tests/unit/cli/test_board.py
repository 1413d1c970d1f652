import platform
from pathlib import Path

import pytest

from relay.base.errors import ConfigError
from relay.base.typed_toml import parse_table, read_toml
from relay.box.board import DESK
from relay.box.profile import Profile, load_profile, names
from relay.cli import board
from relay.cli.board_health import find_on_the_board
from tests.fakes.board_tree import BoardTree


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


@pytest.mark.parametrize("name", [name for name in names() if name != DESK])
def test_every_profile_matches_its_board_and_names_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    profile = load_profile(name)
    machine = {"arm64": "aarch64", "amd64": "x86_64"}[profile.board.arch]
    monkeypatch.setattr(platform, "machine", lambda: machine)
    tree = BoardTree(tmp_path, profile)
    found = board.describe(tree.root, tree.root)
    assert found["profile"] == name
    lines = board.render(found)
    assert lines[0] == f"profile: {name}: {profile.board.name}"
    assert f"model: {profile.board.name}" in lines[1]
    assert not [line for line in lines if "not there" in line]
    assert f"light: {[*profile.leds.status, 'none'][0]}" in lines
    assert any(line.startswith("temperature: 41 C") for line in lines)
    assert ("power supply: good" in lines) == bool(profile.thermal.undervoltage_hwmon)
    assert any(line.startswith("flash: mmcblk0") for line in lines)
    watchdog = profile.watchdog
    fed = f"{watchdog.driver}, resets the board after {watchdog.runtime_s} s" if watchdog.driver else "none"
    assert f"watchdog: {fed}" in lines
    clock = "rtc-ds1307 1-0068" if profile.rtc.present else "none that goes on without power"
    assert f"clock: set, {clock}" in lines
    assert f"random numbers: {'bcm2835-rng' if profile.hwrng else 'no hardware for them'}" in lines
    assert list(find_on_the_board(tree.root, tree.root)) == []


def test_the_desk_is_chosen_and_never_found() -> None:
    assert load_profile(DESK).board.match_compatible == load_profile(DESK).board.match_arch == ()


def test_systemd_is_told_how_long_the_board_may_hang(tmp_path: Path) -> None:
    tree = BoardTree(tmp_path, load_profile("raspberry-pi-4b"))
    lines = board.feeding(board.describe(None, tree.root))
    assert lines[1:] == ["[Manager]", "RuntimeWatchdogSec=14s", "RebootWatchdogSec=15s"]
    assert board.feeding({"watchdog": {"runtime_s": 0}}) == []
