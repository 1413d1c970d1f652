"""Time as an argument: rooms take a `Clock`, tests give them one that does not move by itself."""

import time
from typing import Protocol


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
