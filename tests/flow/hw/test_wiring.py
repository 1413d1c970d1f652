"""What the wiring text tells people agrees with the overlays, the profiles and the programs there are."""

import re
import tomllib
from pathlib import Path

import pytest

from relay.cli.commands import relay
from relay.console.grammar import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
OVERLAYS = ROOT / "hw/overlays"
WIRING = (ROOT / "hw/wiring.md").read_text()
BOARDS = ("rpi", "opi", "radxa")
PROFILES = {
    "rpi": ("raspberry-pi-zero-2-w", "raspberry-pi-3b-plus", "raspberry-pi-4b", "raspberry-pi-5"),
    "opi": ("orange-pi-zero-3",),
    "radxa": ("radxa-zero-3w", "radxa-zero-3e"),
}
NODES = {"status light": "status-led", "button": "button"}


def overlay(part: str, board: str) -> str:
    return (OVERLAYS / f"{part}-{board}.dts").read_text()


def row(part: str) -> dict[str, tuple[str, str]]:
    """Return pin and line of `part` by board, and the ground pin."""
    found = re.search(rf"^\| {part} \|(.*)\|$", WIRING, re.MULTILINE)
    assert found is not None
    *cells, ground = (cell.strip() for cell in found[1].split("|"))
    pins = {board: cell.partition(" ") for board, cell in zip(BOARDS, cells, strict=True)}
    return {board: (pin, line.strip("()")) for board, (pin, _, line) in pins.items()} | {"ground": (ground, "")}


def line_of(text: str) -> str:
    """Return the line of an overlay's `gpios` in the maker's words."""
    found = re.search(r"gpios = <&(\w+) (\d+)(?: (\d+))? (?:0x)?\d+>", text)
    assert found is not None
    chip, first, second = found[1], int(found[2]), found[3]
    if chip == "gpio":
        return f"GPIO{first}"
    if chip == "pio":
        return f"P{chr(ord('A') + first)}{second}"
    return f"{chip.upper()}_{'ABCD'[first // 8]}{first % 8}"


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("part", sorted(NODES))
def test_light_and_button_are_wired_where_the_overlay_has_them(part: str, board: str) -> None:
    text = overlay(NODES[part], board)
    pin, line = row(part)[board]
    assert line_of(text) == line
    assert f"pin {pin} ({line})" in text
    assert f"pin {row(part)['ground'][0]} (ground)" in text
    assert re.search(rf"\({pin}\) -+.*-+ \({row(part)['ground'][0]}\)", WIRING)


@pytest.mark.parametrize("board", BOARDS)
def test_the_clock_is_wired_where_the_overlay_has_it(board: str) -> None:
    text = overlay("rtc", board)
    data, pulse = row("clock, data"), row("clock, pulse")
    assert f"target = <&{data[board][1]}>" in text
    assert data[board][1] == pulse[board][1]
    assert re.search(rf"pins? {data[board][0]} \(SDA[^)]*\) and {pulse[board][0]} \(SCL", text)
    assert f"ground at pin {data['ground'][0]}" in text


@pytest.mark.parametrize("board", BOARDS)
def test_profiles_know_light_and_button_as_the_overlays_name_them(board: str) -> None:
    for name in PROFILES[board]:
        profile = tomllib.loads((ROOT / f"firmware_profiles/{name}.toml").read_text())
        assert f'label = "{profile["leds"]["status"][0]}"' in overlay("status-led", board)
        assert f"linux,code = <{profile['button']['key']}>" in overlay("button", board)


def test_every_command_of_the_bring_up_list_exists() -> None:
    text = (ROOT / "hw/bring-up.md").read_text() + WIRING
    consoles = {command.name for command in COMMANDS}
    outside = {"lsblk", "picocom", "curl", "dmesg", "head", "dtc", "fdtoverlay", "vfat", "doorstep"}
    unknown = []
    for quoted in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", text):
        command = " ".join(quoted.split())
        words = command.split(" ")
        if words[0] == "relay":
            assert words[1] in relay.commands, command
        elif words[0] in ("sudo", "python3"):
            assert all((ROOT / word).exists() for word in words if word.startswith("hw/")), command
        elif words[0].islower() and words[0] not in outside and re.fullmatch(r"[a-z]+", words[0]):
            unknown += [command] if not any(command.startswith(name) for name in consoles) else []
    assert unknown == []


def test_the_image_offers_the_overlays_that_there_are() -> None:
    offered = re.findall(r"^#dtoverlay=doorstep-(\S+)$", (ROOT / "hw/image/config.txt").read_text(), re.MULTILINE)
    assert sorted(offered) == sorted(path.stem.removesuffix("-rpi") for path in OVERLAYS.glob("*-rpi.dts"))
