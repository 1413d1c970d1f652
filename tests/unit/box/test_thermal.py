from pathlib import Path

import pytest

from relay.box.profile import load_profile
from relay.box.thermal import Cooling, is_undervolted, look_at_cooling, temperature_c
from tests.fakes.board_tree import BoardTree


def kernel(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_zone_is_found_by_its_type_and_told_in_degrees(tmp_path: Path) -> None:
    zones = {
        "class__thermal__thermal_zone0__type": "gpu-thermal\n",
        "class__thermal__thermal_zone0__temp": "40000\n",
        "class__thermal__thermal_zone1__type": "cpu-thermal\n",
        "class__thermal__thermal_zone1__temp": "61250\n",
    }
    assert temperature_c("cpu-thermal", kernel(tmp_path, **zones)) == 61.25
    assert temperature_c("battery", tmp_path) is None


def test_a_zone_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    assert temperature_c("cpu-thermal", tmp_path) is None
    kernel(tmp_path, class__thermal__thermal_zone0__type="cpu-thermal\n", class__thermal__thermal_zone0__temp="")
    assert temperature_c("cpu-thermal", tmp_path) is None


@pytest.mark.parametrize(("text", "found"), [("0\n", False), ("1\n", True), ("", None)])
def test_a_weak_supply_is_told_by_its_alarm(tmp_path: Path, text: str, found: bool | None) -> None:
    kernel(tmp_path, class__hwmon__hwmon3__name="rpi_volt\n", class__hwmon__hwmon3__in0_lcrit_alarm=text)
    assert is_undervolted("rpi_volt", tmp_path) is found
    assert is_undervolted("", tmp_path) is None
    assert is_undervolted("acpitz", tmp_path) is None


def test_what_cools_the_board_says_how_much_and_whether_it_costs_speed(tmp_path: Path) -> None:
    tree = BoardTree(tmp_path, load_profile("orange-pi-zero-3"))
    tree.cooling("thermal-cpufreq-0", 0, 7)
    tree.cooling("gpio-fan", 1, 1, number=1)
    assert look_at_cooling(tmp_path / "sys") == [
        Cooling("thermal-cpufreq-0", 0, 7, slows=True),
        Cooling("gpio-fan", 1, 1, slows=False),
    ]
    assert look_at_cooling(tmp_path / "nowhere") == []
