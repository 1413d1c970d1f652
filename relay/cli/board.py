"""Which board this is, and a profile to begin with for one that nobody described yet."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relay.admin.operations import Finding
from relay.base.errors import ConfigError
from relay.box.board import Identity, identify, own_profile
from relay.box.flash_health import look_at_flash
from relay.box.profile import OVERRIDE, SCHEMA, Profile
from relay.box.thermal import is_undervolted, temperature_c

_ROOT = Path("/")
_WORN_PERCENT = 90
_ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}


def describe(state: Path | None, root: Path = _ROOT) -> dict[str, Any]:
    """Return what `relay board` shows, as JSON values; `state` is where the override file may lie.

    Raises:
        ConfigError: no profile fits, or the override file is wrong.
    """
    identity = identify(root)
    name, profile = own_profile(state, root)
    return {
        "profile": name,
        "model": identity.model,
        "compatible": list(identity.compatible),
        "machine": identity.machine,
        "board": dataclasses.asdict(profile.board),
        "console": [dataclasses.asdict(port) | {"present": _there(root, port.dev)} for port in profile.console],
        "light": _first(root / "sys/class/leds", profile.leds.status),
        "memory": dataclasses.asdict(profile.memory),
        "key_source": profile.keystore.kind,
        "health": _health(state or Path("/"), profile, root),
    }


def _health(folder: Path, profile: Profile, root: Path) -> dict[str, Any]:
    flash = look_at_flash(folder, root=root)
    return {
        "temperature_c": temperature_c(profile.thermal.zone_type, root / "sys"),
        "warm_from_c": profile.thermal.warn_c,
        "undervoltage": is_undervolted(profile.thermal.undervoltage_hwmon, root / "sys"),
        "flash": None if flash is None else dataclasses.asdict(flash),
    }


def render(found: dict[str, Any]) -> list[str]:
    """Return `found` in words, one line each."""
    ports = [f"{port['dev']}{'' if port['present'] else ' (not there)'}" for port in found["console"]]
    lines = [
        f"profile: {found['profile']}: {found['board']['name']}",
        f"model: {found['model'] or 'the board does not say'}",
        f"console: {', '.join(ports) or 'none: relay console in a terminal'}",
        f"light: {found['light'] or 'none'}",
        *_health_words(found["health"]),
        f"known from: {'; '.join(found['board']['sources'])}",
    ]
    return [*lines, f"note: {found['board']['notes']}"] if found["board"]["notes"] else lines


def _health_words(health: dict[str, Any]) -> list[str]:
    lines = []
    if health["temperature_c"] is not None:
        lines.append(f"temperature: {health['temperature_c']:.0f} C, warm from {health['warm_from_c']} C")
    if health["undervoltage"] is not None:
        lines.append(f"power supply: {'too weak' if health['undervoltage'] else 'good'}")
    if flash := health["flash"]:
        worn = "" if flash["used_percent"] is None else f", {flash['used_percent']} % of its life used"
        yearly_gib = flash["yearly_bytes"] / 2**30
        lines.append(f"flash: {flash['device']}{worn}, {yearly_gib:.0f} GiB a year written at the pace since the start")
    return lines


def find_on_the_board(state: Path, root: Path = _ROOT) -> Iterator[Finding]:
    """Yield what is wrong with the board itself: heat, power, worn flash, a wrong profile."""
    try:
        _, profile = own_profile(state, root)
    except ConfigError as error:
        yield Finding("fault", str(error), f"correct {OVERRIDE} in the state folder, or remove it")
        return
    health = _health(state, profile, root)
    temperature = health["temperature_c"] or 0.0
    if temperature >= profile.thermal.warn_c:
        level = "fault" if temperature >= profile.thermal.critical_c else "warning"
        yield Finding(level, f"the board is {temperature:.0f} C warm", "give it air, or a heat sink")
    if health["undervoltage"]:
        yield Finding("fault", "the power supply is too weak", "use a stronger supply and a short, thick cable")
    flash = health["flash"] or {"used_percent": None, "reserve": ""}
    used_percent = flash["used_percent"] or 0
    if used_percent >= _WORN_PERCENT or flash["reserve"] in ("warning", "urgent"):
        level = "fault" if flash["reserve"] == "urgent" or used_percent > 100 else "warning"
        yield Finding(level, f"the flash {flash['device']} is worn out", "make a backup now, then replace it")


def limits(found: dict[str, Any]) -> list[str]:
    """Return the lines of a unit drop-in: how much memory this board leaves to the relay."""
    memory = found["memory"]
    return [
        f"# Written by relay board --systemd for {found['profile']}.",
        "[Service]",
        f"MemoryHigh={memory['relay_high_mib']}M",
        f"MemoryMax={memory['relay_max_mib']}M",
    ]


def probe(root: Path = _ROOT) -> str:
    """Return a candidate profile of this board as TOML, with what the kernel tells and nothing else."""
    identity = identify(root)
    return "\n".join(
        [
            "# A beginning: what the kernel tells of this board. Correct it, name your sources, and send it in.",
            f"schema = {SCHEMA}",
            f"hwrng = {_toml((root / 'dev/hwrng').exists())}",
            "",
            "[board]",
            *_board(identity),
            "",
            "[leds]",
            f"status = {_toml(_names(root / 'sys/class/leds'))}",
            "",
            "[gadget]",
            f"capable = {_toml(bool(_names(root / 'sys/class/udc')))}",
            "",
            "[thermal]",
            f"zone_type = {_toml(_zone(root))}",
            "",
            "[rtc]",
            f"present = {_toml(bool(_names(root / 'sys/class/rtc')))}",
        ]
    )


def _board(identity: Identity) -> list[str]:
    return [
        f"name = {_toml(identity.model or 'unknown board')}",
        f"vendor = {_toml(identity.compatible[0].partition(',')[0] if identity.compatible else 'unknown')}",
        f"soc = {_toml(identity.compatible[-1] if identity.compatible else 'unknown')}",
        f"arch = {_toml(_ARCHITECTURES.get(identity.machine, 'any'))}",
        'tier = "community"',
        f"match_compatible = {_toml(list(identity.compatible[:1]))}",
        'sources = ["relay board --probe on the board itself"]',
    ]


def _zone(root: Path) -> str:
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/type"))
    return zones[0].read_text().strip() if zones else "cpu-thermal"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _first(folder: Path, candidates: tuple[str, ...]) -> str:
    return next((name for name in candidates if (folder / name).exists()), "")


def _there(root: Path, device: str) -> bool:
    return (root / device.lstrip("/")).exists()


def _toml(value: object) -> str:
    # JSON's texts, truth values and lists of texts are TOML's.
    return json.dumps(value)
