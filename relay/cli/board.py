"""Which board this is, and a profile to begin with for one that nobody described yet."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from relay.box.board import Identity, identify, own_profile
from relay.box.profile import SCHEMA
from relay.cli.board_health import look, say
from relay.cli.key_device import device_lines

_ROOT = Path("/")
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
        "key_device": device_lines(profile.keystore, root),
        "watchdog": dataclasses.asdict(profile.watchdog),
        "button": profile.button.source,
        "health": look(state or Path("/"), profile, root),
    }


def render(found: dict[str, Any]) -> list[str]:
    """Return `found` in words, one line each."""
    ports = [f"{port['dev']}{'' if port['present'] else ' (not there)'}" for port in found["console"]]
    lines = [
        f"profile: {found['profile']}: {found['board']['name']}",
        f"model: {found['model'] or 'the board does not say'}",
        f"console: {', '.join(ports) or 'none: relay console in a terminal'}",
        f"light: {found['light'] or 'none'}",
        *say(found["health"]),
        f"known from: {'; '.join(found['board']['sources'])}",
    ]
    return [*lines, f"note: {found['board']['notes']}"] if found["board"]["notes"] else lines


def limits(found: dict[str, Any]) -> list[str]:
    """Return the lines of a unit drop-in: how much memory this board leaves to the relay, and where its key may be."""
    memory = found["memory"]
    return [
        f"# Written by relay board --systemd for {found['profile']}.",
        "[Service]",
        f"MemoryHigh={memory['relay_high_mib']}M",
        f"MemoryMax={memory['relay_max_mib']}M",
        # Of all devices only this one, which nothing but a start asks.
        *(["PrivateDevices=no", *found["key_device"]] if found["key_device"] else []),
    ]


def reaching(found: dict[str, Any]) -> list[str]:
    """Return the lines of the console unit's drop-in, so that a box can be set up; none where no device holds keys."""
    if not found["key_device"]:
        return []
    return [f"# Written by relay board --console for {found['profile']}.", "[Service]", *found["key_device"]]


def feeding(found: dict[str, Any]) -> list[str]:
    """Return the lines of a drop-in of systemd itself, which feeds the hardware watchdog; none where there is none."""
    watchdog = found["watchdog"]
    if not watchdog["runtime_s"]:
        return []
    return [
        f"# Written by relay board --watchdog for {found['profile']}; systemctl daemon-reexec takes it up.",
        "[Manager]",
        f"RuntimeWatchdogSec={watchdog['runtime_s']}s",
        f"RebootWatchdogSec={watchdog['reboot_s'] or watchdog['runtime_s']}s",
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
