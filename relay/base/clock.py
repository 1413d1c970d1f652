"""Time as an argument: rooms take a `Clock`, tests give them one that does not move by itself."""

import datetime
import re
import time
from pathlib import Path
from typing import Protocol

# Before this there was no release, so nothing was written down; a package carries the exact moment of its commit.
_RELEASED = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
RELEASED_MS = int(_RELEASED.timestamp()) * 1000
_STAMP = Path(__file__).resolve().parents[2] / "version"


class Clock(Protocol):
    """Where a room reads the time of day."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The kernel's clock."""

    def wall_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000


def stamped(path: Path = _STAMP) -> datetime.datetime:
    """Return the moment in the package's version (`0.4.0+20261123194643.88d376f1a~deb13`), else the release's date."""
    try:
        found = re.search(r"\+(\d{8})(\d{6})\.", path.read_text("ascii"))
        return datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00") if found else _RELEASED
    except (OSError, ValueError):
        return _RELEASED


EARLIEST = stamped()


def is_set(now_s: float) -> bool:
    """Return whether a clock that shows `now_s` (seconds since 1970) can be right: it is not before this release."""
    return now_s >= EARLIEST.timestamp()


def knows_time(clock: Clock) -> bool:
    """Return whether `clock` is set."""
    return is_set(clock.wall_ms() / 1000)


def system_knows_time() -> bool:
    """Return whether the kernel's clock is set."""
    return knows_time(SystemClock())


def was_set(at_ms: int) -> bool:
    """Return whether the clock can have been right that `at_ms`, which some release wrote down, was taken from."""
    return at_ms >= RELEASED_MS
