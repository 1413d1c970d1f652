"""How far back a room's past goes here, where it was let go."""

from dataclasses import dataclass

from relay.base.ids import RoomId
from relay.rooms.matrix.storage.stored_event import position_of
from relay.rooms.matrix.tables import CUT_MEMBERSHIP_LOG, MEMBERSHIP_LOG, NOTE_HISTORY
from relay.store.ledger import Change, Index

_BEGINNING = -(1 << 62)


@dataclass(frozen=True, slots=True)
class LetGo:
    """What was let go so far, for people who look after the box."""

    rooms: int
    events: int


def horizon(index: Index, room: RoomId) -> int:
    """Return the order below which the room's messages are gone; below every order where none is."""
    return horizon_of(index, index.find(room) or 0)


def horizon_of(index: Index, room_number: int) -> int:
    """As `horizon`, by number."""
    place: int | None = index.value("SELECT place FROM history WHERE room = ? AND room > 0", room_number)
    return _BEGINNING if place is None else place


def log_begins_after(index: Index) -> int:
    """Return the position up to which membership changes are no longer told one by one, 0 if all still are."""
    place: int | None = index.value("SELECT place FROM history WHERE room = ?", MEMBERSHIP_LOG)
    return 0 if place is None else position_of(place)


def let_go(index: Index) -> LetGo:
    """Return what was let go so far."""
    row = index.row("SELECT count(*), coalesce(sum(events), 0) FROM history WHERE room > 0")
    return LetGo(0, 0) if row is None else LetGo(*row)


def old_log_lines(index: Index, before: int, limit: int) -> tuple[int, int]:
    """Return (where to cut the membership log below `before`, how many lines that takes away), at most `limit`."""
    rows = index.rows("SELECT number FROM membership_log WHERE number < ? ORDER BY number LIMIT ?", before, limit)
    return (rows[-1][0] + 1, len(rows)) if rows else (0, 0)


def cut_log(change: Change, before: int) -> None:
    """Forget the membership changes below `before`, a place."""
    change.write(CUT_MEMBERSHIP_LOG, before)
    change.write(NOTE_HISTORY, MEMBERSHIP_LOG, before, 0)
