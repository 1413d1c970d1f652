"""How the board itself is: heat, power, flash, watchdog, clock and button as its kernel shows them."""

import dataclasses
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from relay.admin.operations import Finding
from relay.base.clock import is_set
from relay.base.errors import ConfigError
from relay.box.board import own_profile
from relay.box.button import ALLOW_AFTER_S, RESET_AFTER_S, find_button
from relay.box.flash_book import look_in_book
from relay.box.flash_health import FlashHealth, look_at_flash
from relay.box.profile import OVERRIDE, Profile
from relay.box.randomness import random_source
from relay.box.rtc import look_at_rtc
from relay.box.thermal import is_undervolted, look_at_cooling, temperature_c
from relay.box.watchdog import HardwareWatchdog, look_at_watchdog

_ROOT = Path("/")
# `life_time` 0x09: 80 to 90 %.
_WORN_PERCENT = 90
_SPARE_USED = {"warning": "80 % of its spare blocks used", "urgent": "90 % of its spare blocks used"}
_FEW_YEARS = 2
_DROP_IN = "/etc/systemd/system.conf.d/60-doorstep.conf"


def look(folder: Path, profile: Profile, root: Path = _ROOT) -> dict[str, Any]:
    """Return how the board is, as JSON values; `folder` is where the state lies."""
    flash = look_at_flash(folder, root=root)
    watchdog = look_at_watchdog(root)
    rtc = look_at_rtc(root)
    button = find_button(profile.button, root)
    return {
        "temperature_c": temperature_c(profile.thermal.zone_type, root / "sys"),
        "warm_from_c": profile.thermal.warn_c,
        "cooling": [dataclasses.asdict(device) for device in look_at_cooling(root / "sys")],
        "undervoltage": is_undervolted(profile.thermal.undervoltage_hwmon, root / "sys"),
        "flash": None if flash is None else dataclasses.asdict(flash) | _book(folder, profile, flash, root),
        "watchdog": None if watchdog is None else dataclasses.asdict(watchdog),
        "rtc": None if rtc is None else dataclasses.asdict(rtc),
        "clock_set": is_set(_now_s()),
        "random_source": random_source(root),
        "button": None if button is None else f"/{button.relative_to(root)}",
    }


def say(health: dict[str, Any]) -> list[str]:
    """Return what `look` found in words, one line each."""
    lines = []
    if health["temperature_c"] is not None:
        slow = ", the processor goes slower" if _slowed(health) else ""
        lines.append(f"temperature: {health['temperature_c']:.0f} C, warm from {health['warm_from_c']} C{slow}")
    if health["undervoltage"] is not None:
        lines.append(f"power supply: {'too weak' if health['undervoltage'] else 'good'}")
    if flash := health["flash"]:
        lines.append(f"flash: {flash['device']}{_wear_words(flash)}, {_pace_words(flash)}")
    holding = f"hold {ALLOW_AFTER_S:.0f} s to allow changes, {RESET_AFTER_S:.0f} s to reset"
    return [
        *lines,
        f"button: {health['button']}, {holding}" if health["button"] else "button: none",
        f"watchdog: {_watchdog_words(health['watchdog'])}",
        f"clock: {_clock_words(health)}",
        f"random numbers: {health['random_source'] or 'no hardware for them'}",
    ]


def _watchdog_words(watchdog: dict[str, Any] | None) -> str:
    if watchdog is None:
        return "none"
    after = f"resets the board after {HardwareWatchdog(**watchdog).true_timeout_s} s"
    return f"{watchdog['driver'] or watchdog['identity']}, {after if watchdog['fed'] else 'nobody feeds it'}"


def _clock_words(health: dict[str, Any]) -> str:
    told = "set" if health["clock_set"] else "not set"
    return f"{told}, {health['rtc']['name'] if health['rtc'] else 'none that goes on without power'}"


def _wear_words(flash: dict[str, Any]) -> str:
    if flash["used_percent"] is not None:
        return f", {_life_words(flash['used_percent'])}"
    if flash["kind"] in ("nvme", "disk"):
        return ", wear unknown (smartctl -A as root asks the disk)"
    return "" if flash["kind"] == "sd" else ", wear unknown"


def _life_words(used_percent: int) -> str:
    if used_percent > 100:
        return "past the end of its life"
    return f"{used_percent - 10} to {used_percent} % of its life used"


def _book(folder: Path, profile: Profile, flash: FlashHealth, root: Path) -> dict[str, Any]:
    """Return what an average day and a year of them write, and for how many years the card bears that."""
    book = look_in_book(folder, _now_s() if is_set(_now_s()) else None, root)
    if book is None or book.daily_bytes is None:
        return {"daily_bytes": None, "years_left": None}
    storage = profile.storage
    endurance_bytes = flash.endurance_bytes(storage.kind, storage.endurance_gb)
    years_left = book.years_left(endurance_bytes, flash.used_percent)
    return {
        "daily_bytes": book.daily_bytes,
        "yearly_bytes": book.yearly_bytes,
        "booked_bytes": book.total_bytes,
        "years_left": None if years_left is None else round(years_left, 1),
    }


def _pace_words(flash: dict[str, Any]) -> str:
    yearly = f"{flash['yearly_bytes'] / 2**30:.0f} GiB a year"
    if flash["daily_bytes"] is None:
        return f"{yearly} written at the pace since the start"
    left = "" if flash["years_left"] is None else f", of which the card bears {_years(flash['years_left'])}"
    return f"{flash['daily_bytes'] / 2**20:.1f} MiB a day, {yearly} written{left}"


def _years(years: float) -> str:
    return "a century" if years >= 100 else f"{years:.1f} years"


def _slowed(health: dict[str, Any]) -> bool:
    return any(device["slows"] and device["state"] for device in health["cooling"])


def _now_s() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


def find_on_the_board(state: Path, root: Path = _ROOT) -> Iterator[Finding]:
    """Yield what is wrong with the board itself, as far as its profile promises more."""
    try:
        _, profile = own_profile(state, root)
    except ConfigError as error:
        yield Finding("fault", str(error), f"correct {OVERRIDE} in the state folder, or remove it")
        return
    health = look(state, profile, root)
    for find in _FINDS:
        yield from find(health, profile)


def _find_heat(health: dict[str, Any], profile: Profile) -> Iterator[Finding]:
    temperature = health["temperature_c"] or 0.0
    if temperature >= profile.thermal.warn_c:
        level = "fault" if temperature >= profile.thermal.critical_c else "warning"
        slow = " and goes slower" if _slowed(health) else ""
        yield Finding(level, f"the board is {temperature:.0f} C warm{slow}", "give it air, or a heat sink")


def _find_weak_power(health: dict[str, Any], _profile: Profile) -> Iterator[Finding]:
    if health["undervoltage"]:
        yield Finding("fault", "the power supply is too weak", "use a stronger supply and a short, thick cable")


def _find_worn_flash(health: dict[str, Any], _profile: Profile) -> Iterator[Finding]:
    flash = health["flash"] or {"used_percent": None, "reserve": ""}
    used_percent = flash["used_percent"] or 0
    if used_percent >= _WORN_PERCENT or flash["reserve"] in _SPARE_USED:
        level = "fault" if flash["reserve"] == "urgent" or used_percent > 100 else "warning"
        worn = [_life_words(used_percent)] if used_percent >= _WORN_PERCENT else []
        worn += [_SPARE_USED[flash["reserve"]]] if flash["reserve"] in _SPARE_USED else []
        step = "make a backup now, then replace it"
        yield Finding(level, f"the flash {flash['device']} wears out: {', '.join(worn)}", step)
    elif flash.get("years_left") is not None and flash["years_left"] < _FEW_YEARS:
        daily_mib = flash["daily_bytes"] / 2**20
        what = f"the card {flash['device']} bears {_years(flash['years_left'])} of {daily_mib:.0f} MiB a day"
        yield Finding("warning", what, "see who else writes to it (iotop -a), or use a card for recording, or an SSD")


def _find_idle_watchdog(health: dict[str, Any], profile: Profile) -> Iterator[Finding]:
    if health["watchdog"] is None or not profile.watchdog.runtime_s:
        return
    watchdog = HardwareWatchdog(**health["watchdog"])
    wanted = f"relay board --watchdog >{_DROP_IN}, then systemctl daemon-reexec"
    if not watchdog.fed:
        what = f"nobody feeds the watchdog {watchdog.device}: a board that hangs stays so"
        yield Finding("warning", what, f"have systemd feed it: {wanted}")
    elif watchdog.true_timeout_s != watchdog.timeout_s:
        what = f"the watchdog was told {watchdog.timeout_s} s and resets the board after {watchdog.true_timeout_s} s"
        yield Finding("fault", what, f"give it a time it can count: {wanted}")
    elif watchdog.timeout_s != profile.watchdog.runtime_s:
        what = f"the watchdog resets the board after {watchdog.timeout_s} s, {profile.watchdog.runtime_s} s are its own"
        yield Finding("note", what, f"unless you chose that: {wanted}")
    if watchdog.reset_board:
        look_there = "read what came before: journalctl -b -1 -e; power and heat are the usual reasons"
        yield Finding("warning", "the watchdog has reset the board: it hung before this start", look_there)


def _find_lost_time(health: dict[str, Any], profile: Profile) -> Iterator[Finding]:
    rtc = health["rtc"]
    if profile.rtc.battery_backed and rtc is not None and not is_set(rtc["shows_s"] or 0):
        what = f"the clock {rtc['device']} does not keep the time while the power is off"
        yield Finding("note", what, "replace its battery; until then the time comes from the network or the console")


def _find_slow_randomness(health: dict[str, Any], profile: Profile) -> Iterator[Finding]:
    if profile.hwrng and not health["random_source"]:
        what = "the kernel uses no hardware for random numbers, and the board has some: a first start is slow"
        yield Finding("warning", what, "look for its driver: cat /sys/class/misc/hw_random/rng_available")


def _find_missing_button(health: dict[str, Any], profile: Profile) -> Iterator[Finding]:
    if profile.button.source == "evdev" and health["button"] is None:
        what = "the kernel does not show the button that the profile names"
        # Most boards are bought without one: everything but a forgotten password works so.
        yield Finding("note", what, "to have one: hw/wiring.md; where one is wired, check its overlay and button.key")


_FINDS: tuple[Callable[[dict[str, Any], Profile], Iterator[Finding]], ...] = (
    _find_heat,
    _find_weak_power,
    _find_worn_flash,
    _find_idle_watchdog,
    _find_lost_time,
    _find_slow_randomness,
    _find_missing_button,
)
