"""Whether the clock can be believed: it goes forward by days, not by months or backwards.

A clock that did, or was not set until now, is doubted for a day, and nothing is let go for age as long.
"""

import trio

from relay.base.clock import is_set

_DAY_MS = 24 * 3600 * 1000
_MOST_DAYS_OFF = 3
_DOUBT_S = 24 * 3600.0
_PACE_MS = 3600 * 1000


class ClockTrust:
    """Whether the wall clock can be believed."""

    def __init__(self) -> None:
        self._doubted_s: float | None = None
        self._unset_s: float | None = None
        self._believed: tuple[int, float] | None = None

    def holds(self, last_day: int | None, now_ms: int) -> bool:
        """Return whether ages can be reckoned with `now_ms`; `last_day` is that of the newest mark."""
        now_s = trio.current_time()
        if not is_set(now_ms / 1000):
            self._unset_s = now_s
        if self._unset_s is not None and now_s - self._unset_s < _DOUBT_S:
            return False
        days = 0 if last_day is None else now_ms // _DAY_MS - last_day
        if 0 <= days <= _MOST_DAYS_OFF or self._kept_pace(now_ms, now_s):
            self._doubted_s = None
        elif self._doubted_s is None:
            self._doubted_s = now_s
        if self._doubted_s is not None and now_s - self._doubted_s < _DOUBT_S:
            return False
        self._believed = now_ms, now_s
        return True

    def _kept_pace(self, now_ms: int, now_s: float) -> bool:
        """Return whether the clock went on as time did since it was last believed."""
        if self._believed is None:
            return False
        then_ms, then_s = self._believed
        return abs((now_ms - then_ms) - (now_s - then_s) * 1000) < _PACE_MS
