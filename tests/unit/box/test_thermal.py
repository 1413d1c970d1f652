from pathlib import Path

import pytest

from relay.box.thermal import is_undervolted, temperature_c


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
