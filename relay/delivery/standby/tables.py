"""What the standby keeps in the house itself: its key, and which starts of this box may have sent something.

The key is a row and not derived, so that it comes along to the second box: whoever has it in a drawer keeps it there.
"""

import dataclasses
import secrets

from relay.delivery.standby.envelope import ID_BYTES, KEY_BYTES
from relay.store.ledger import Change, Index
from relay.store.tables import Operation, Tables

_KEEP = Operation(
    690, "INSERT INTO standby (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
TABLES = Tables(
    name="standby",
    ddl=("CREATE TABLE IF NOT EXISTS standby (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",),
    operations=(_KEEP,),
)
_STARTS = 64


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Start:
    """One start of this box, as the standby sees it.

    Attributes:
        own: the random id of this start.
        known: the ids of this one and of those before whose commits this box certainly has.
    """

    key: bytes
    own: bytes
    known: frozenset[bytes]


def key_of(index: Index) -> bytes | None:
    """Return the standby key, None where there is none yet."""
    value: bytes | None = index.value("SELECT value FROM standby WHERE name = 'key'")
    return value


def make_key(change: Change, fresh: bytes) -> bytes:
    """Return the standby key, which is `fresh` (32 random bytes) where there was none."""
    known = key_of(change)
    if known is None:
        change.write(_KEEP, "key", fresh)
    return known or fresh


def begin_start(change: Change, fresh: bytes, own: bytes) -> Start:
    """Note a new start, `own` (8 random bytes), before anything is sent.

    A folder that was put back to an earlier state does not know the starts since: what they sent is not its past. After
    an upgrade nothing is: commits are written in words of the new tables, and a base in words of the old.
    """
    key = make_key(change, fresh)
    layout: bytes = change.value("SELECT layout FROM applied")
    known: bytes = change.value("SELECT value FROM standby WHERE name = 'starts'") or b""
    if change.value("SELECT value FROM standby WHERE name = 'layout'") != layout:
        change.write(_KEEP, "layout", layout)
        known = b""
    earlier = [known[place : place + ID_BYTES] for place in range(0, len(known), ID_BYTES)]
    starts = [*earlier[1 - _STARTS :], own]
    change.write(_KEEP, "starts", b"".join(starts))
    return Start(key, own, frozenset(starts))


def forget_starts(change: Change) -> None:
    """Note that this house was restored from a copy: what any start sent before is another box's."""
    if change.value("SELECT 1 FROM standby WHERE name = 'starts'"):
        change.write(_KEEP, "starts", b"")


def draw() -> tuple[bytes, bytes]:
    """Return a fresh key and a fresh id of a start."""
    return secrets.token_bytes(KEY_BYTES), secrets.token_bytes(ID_BYTES)
