"""The device-tree overlays under the real compiler, laid over a small tree that has what the real ones have."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.interop.peer_environments import device_tree_compiler

pytestmark = pytest.mark.interop

OVERLAYS = Path(__file__).resolve().parents[2] / "hw/overlays"
# The labels of the kernel's own trees: bcm283x.dtsi, sun50i-h616.dtsi, rk356x.dtsi.
BASES = {
    "rpi": ("gpio: gpio { #gpio-cells = <2>; };", 'i2c1: i2c { status = "disabled"; };'),
    "opi": ("pio: pio { #gpio-cells = <3>; i2c3_ph_pins: pins { }; };", 'i2c3: i2c { status = "disabled"; };'),
    "radxa": ("gpio3: gpio { #gpio-cells = <2>; };", 'i2c3: i2c { status = "disabled"; };'),
}
# Pins 11 and 13 as the tables named in the head of each file have them; 1 is active low, 16 the chip's pull-up.
LINES = {"rpi": ("17 0", "27 1"), "opi": ("2 6 0", "2 5 17"), "radxa": ("1 0", "2 17")}


@pytest.fixture(scope="module")
def tools() -> tuple[Path, str]:
    program, libraries = device_tree_compiler()
    return program.parent, libraries


def run(tools: tuple[Path, str], name: str, *arguments: object) -> str:
    folder, libraries = tools
    return subprocess.run(
        [folder / name, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "LD_LIBRARY_PATH": libraries},
    ).stdout


@pytest.mark.parametrize("board", sorted(BASES))
def test_overlays_compile_and_lie_over_one_another(board: str, tools: tuple[Path, str], tmp_path: Path) -> None:
    nodes = "\n".join(BASES[board])
    (tmp_path / "base.dts").write_text(f"/dts-v1/;\n/ {{\n{nodes}\n}};\n")
    run(tools, "dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", tmp_path / "base.dtb", tmp_path / "base.dts")
    layers = []
    for source in sorted(OVERLAYS.glob(f"*-{board}.dts")):
        layers.append(tmp_path / f"{source.stem}.dtbo")
        run(tools, "dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", layers[-1], source)
    assert len(layers) == 3
    whole = tmp_path / "whole.dtb"
    run(tools, "fdtoverlay", "-i", tmp_path / "base.dtb", "-o", whole, *layers)

    def told(node: str, key: str) -> str:
        return run(tools, "fdtget", whole, node, key).strip()

    assert told("/doorstep-led", "compatible") == "gpio-leds"
    assert told("/doorstep-led/status-led", "label") == "doorstep"
    assert told("/doorstep-button", "compatible") == "gpio-keys"
    assert told("/doorstep-button/button", "linux,code") == "141"
    assert told("/i2c/rtc@68", "compatible") == "maxim,ds3231"
    assert told("/i2c", "status") == "okay"
    handle = told("/gpio" if board != "opi" else "/pio", "phandle")
    for node in ("/doorstep-led/status-led", "/doorstep-button/button"):
        assert told(node, "gpios").split()[0] == handle
    assert told("/doorstep-led/status-led", "gpios").split()[1:] == LINES[board][0].split()
    assert told("/doorstep-button/button", "gpios").split()[1:] == LINES[board][1].split()
