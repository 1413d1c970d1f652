"""Which changes were made before which day: one small row for each day on which anything happened.

What a sender says about the time of an event may be wrong by years; when it came here is known. So is whether the
clock can be believed: it goes forward by days, not by months or backwards. A clock that did is doubted for a day, and
nothing is let go for age as long.
"""

import trio

from relay.store.ledger import Change, Index
from relay.store.tables import Operation, Tables

DAY_MS = 24 * 3600 * 1000
_MOST_DAYS_OFF = 3
_DOUBT_S = 24 * 3600.0
_PACE_MS = 3600 * 1000
_BEFORE_EVERYTHING = -1

_NOTE = Operation(640, "INSERT OR IGNORE INTO position_marks VALUES (?, ?)", lazy=True, patient=True)
_UNDO = Operation(641, "DELETE FROM position_marks WHERE day > ?", lazy=True, patient=True)

TABLES = Tables(
    name="delivery.pruning",
    ddl=("CREATE TABLE IF NOT EXISTS position_marks (day INTEGER PRIMARY KEY, position INTEGER NOT NULL)",),
    operations=(_NOTE, _UNDO),
)


def position_before(index: Index, at_ms: int) -> int:
    """Return the newest position that was reached before `at_ms` for certain; -1 where none is known."""
    position: int | None = index.value("SELECT max(position) FROM position_marks WHERE day < ?", at_ms // DAY_MS)
    return _BEFORE_EVERYTHING if position is None else position


def is_new_day(index: Index, now_ms: int) -> bool:
    """Return whether anything happened in any room since the last mark, and the last mark is another day's."""
    newest = index.value("SELECT max(changed) FROM rooms") or 0
    row = index.row("SELECT day, position FROM position_marks ORDER BY day DESC LIMIT 1") or (-1, 0)
    return bool(row[0] != now_ms // DAY_MS and row[1] < newest)


def note(change: Change, now_ms: int) -> None:
    """Mark today; marks of days to come, made by a clock that was wrong, go."""
    today = now_ms // DAY_MS
    if change.row("SELECT 1 FROM position_marks WHERE day > ? LIMIT 1", today) is not None:
        change.write(_UNDO, today)
    change.write(_NOTE, today, change.position)


class ClockTrust:
    """Whether the wall clock can be believed."""

    def __init__(self) -> None:
        self._doubted_s: float | None = None
        self._believed: tuple[int, float] | None = None

    def holds(self, last_day: int | None, now_ms: int) -> bool:
        """Return whether ages can be reckoned with `now_ms`; `last_day` is that of the newest mark."""
        now_s = trio.current_time()
        days = 0 if last_day is None else now_ms // DAY_MS - last_day
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


def last_day(index: Index) -> int | None:
    """Return the day of the newest mark."""
    day: int | None = index.value("SELECT max(day) FROM position_marks")
    return day
