"""Which changes were made before which day: one small row for each day on which anything happened.

What a sender says about the time of an event may be wrong by years; when it came here is known. Days on which the clock
was not set, or not believed (`relay.delivery.clock_trust`), are not marked.
"""

from relay.base.clock import was_set
from relay.store.ledger import Change, Index
from relay.store.tables import Operation, Tables

DAY_MS = 24 * 3600 * 1000
_BEFORE_EVERYTHING = -1
_NEVER_MS = 1 << 62

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


def certain(index: Index, at_ms: int) -> int:
    """Return `at_ms`, a time that was written down here; if no clock was set then, the first day that is known.

    Zero stays what it is: it stands for never.
    """
    if was_set(at_ms) or not at_ms:
        return at_ms
    return max(at_ms, first_ms(index))


def first_ms(index: Index) -> int:
    """Return when the oldest marked day began, the end of all days where none is."""
    day: int | None = index.value("SELECT min(day) FROM position_marks")
    return _NEVER_MS if day is None else day * DAY_MS


def last_day(index: Index) -> int | None:
    """Return the day of the newest mark."""
    day: int | None = index.value("SELECT max(day) FROM position_marks")
    return day
