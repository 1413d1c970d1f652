import os
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


def test_heat_weak_power_and_worn_flash_are_found_with_the_next_step(pi: Path) -> None:
    number = os.stat(pi).st_dev
    for name, text in {
        "sys/class/thermal/thermal_zone0/temp": "78000\n",
        "sys/class/hwmon/hwmon0/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon0/in0_lcrit_alarm": "1\n",
        "sys/devices/mmc0/block/mmcblk0/stat": "1 0 8 1 1 0 800 1 0 1 2\n",
        "sys/devices/mmc0/block/mmcblk0/device/life_time": "0x09 0x01\n",
        "proc/uptime": "100.0 100.0\n",
    }.items():
        (pi / name).parent.mkdir(parents=True, exist_ok=True)
        (pi / name).write_text(text)
    (pi / "sys/dev/block").mkdir(parents=True)
    link = pi / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.symlink_to(pi / "sys/devices/mmc0/block/mmcblk0")
    findings = [(finding.level, finding.what) for finding in board.find_on_the_board(pi, pi)]
    assert findings == [
        ("warning", "the board is 78 C warm"),
        ("fault", "the power supply is too weak"),
        ("warning", "the flash mmcblk0 is worn out"),
    ]
    lines = board.render(board.describe(pi, pi))
    assert "temperature: 78 C, warm from 75 C" in lines
    assert "power supply: too weak" in lines
    assert any(line.startswith("flash: mmcblk0, 90 % of its life used, ") for line in lines)


def test_a_profile_of_ones_own_that_is_wrong_is_a_fault(pi: Path) -> None:
    (pi / "profile.toml").write_text("[lamps]\n")
    (finding,) = board.find_on_the_board(pi, pi)
    assert finding.level == "fault"
    assert "lamps" in finding.what
