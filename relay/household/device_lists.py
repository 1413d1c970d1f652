"""When each person's devices or cross-signing keys last changed: ours and those of other servers."""

from relay.base.ids import UserId
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    "CREATE TABLE IF NOT EXISTS device_lists (user INTEGER PRIMARY KEY, position INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS device_lists_position ON device_lists (position)",
)
_NOTE = Operation(
    370,
    "INSERT INTO device_lists (user, position) VALUES (?, ?)"
    " ON CONFLICT (user) DO UPDATE SET position = excluded.position",
)
OPERATIONS = (_NOTE,)


def note_changed(change: Change, user: UserId) -> None:
    """Note that what `user` publishes of their devices is another now. Waking those interested is delivery's."""
    change.write(_NOTE, change.intern(user), change.position)


def changed_since(index: Index, after_position: int, up_to: int) -> set[UserId]:
    """Return who changed after `after_position`, here and elsewhere.

    Only the last change of a person is kept: one that fell both before and after `up_to` is reported too, as a
    look-up too many does no harm and one too few leaves a message unreadable.
    """
    if after_position >= up_to:
        return set()
    rows = index.rows("SELECT user FROM device_lists WHERE position > ? ORDER BY position, user", after_position)
    return {UserId(index.name(user)) for (user,) in rows}


def last_change(index: Index, user: UserId) -> int:
    """Return the position of the last change, 0 for none: what peers are told as `stream_id`."""
    return index.value("SELECT position FROM device_lists WHERE user = ?", index.find(user)) or 0
