"""Client transaction ids: the same request twice has one effect and one answer.

Client-server API, "Transaction identifiers": scoped to device and path. A row is written in the same change as the
effect it stands for, and kept for a day.
"""

import base64
import hashlib
from dataclasses import dataclass

from relay.base.clock import was_set
from relay.base.errors import Fault, RelayError
from relay.base.ids import DeviceId, EventId, RoomId, UserId
from relay.household.sessions import Session
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.store.ledger import Change, Index
from relay.store.tables import Operation, Tables

KEPT_MS = 24 * 3600 * 1000
# Expiry rides along with every so many changes: no task, and old rows never outnumber new ones for long.
_EXPIRE_EVERY = 512
_EXPIRE_AT_MOST = 2 * _EXPIRE_EVERY

_RECORD = Operation(
    600, "INSERT INTO client_transaction (position, request, event, text, at_ms) VALUES (?, ?, ?, ?, ?)"
)
_EXPIRE = Operation(601, "DELETE FROM client_transaction WHERE position <= ?", lazy=True, patient=True)

# The row number is the position of the change, so rows are appended; the one index costs 16 bytes and a row number.
# Digests are in no order, and each would dirty another page of a large index: it is one small tree after another,
# each of 8,192 positions, and only the pages of the last are written again.
_NEWEST = "SELECT max(position) FROM client_transaction"
_NEWEST_BEFORE = "SELECT max(position) FROM client_transaction WHERE position < ?"
_FIND = "SELECT event FROM client_transaction WHERE (position >> 13) = ? AND request = ?"
TABLES = Tables(
    name="client_transactions",
    ddl=(
        "CREATE TABLE IF NOT EXISTS client_transaction ("
        "position INTEGER PRIMARY KEY, request BLOB NOT NULL, event BLOB, text TEXT NOT NULL, at_ms INTEGER NOT NULL)",
        "CREATE INDEX IF NOT EXISTS client_transaction_generation ON client_transaction (position >> 13, request)",
    ),
    operations=(_RECORD, _EXPIRE),
)


class AlreadySentError(RelayError):
    """Another request with this transaction id was first; raised inside a step so that the step leaves nothing.

    Attributes:
        event_id: what the first one was answered with; None where the endpoint answers nothing.
    """

    code = "transaction.repeated"
    fault = Fault.USER

    def __init__(self, event_id: EventId | None) -> None:
        super().__init__("this transaction id was used before")
        self.event_id = event_id


@dataclass(frozen=True, slots=True)
class ClientTransaction:
    """What makes two requests the same: the device, what was asked (room and event type, say), and the app's id."""

    user: UserId
    device: DeviceId
    path: str
    transaction_id: str

    def digest(self) -> bytes:
        """Return 16 bytes that stand for all of it."""
        parts = (self.user, self.device, self.path, self.transaction_id)
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def refuse_repeated(index: Index, transaction: ClientTransaction) -> None:
    """Return if `transaction` is new.

    Raises:
        AlreadySentError: it is not.
    """
    request = transaction.digest()
    newest: int | None = index.value(_NEWEST)
    while newest is not None:
        generation = newest >> 13
        row = index.row(_FIND, generation, request)
        if row is not None:
            raise AlreadySentError(None if row[0] is None else _event_id(row[0]))
        newest = index.value(_NEWEST_BEFORE, generation << 13)


def record(change: Change, transaction: ClientTransaction, event_id: EventId | None, now_ms: int) -> None:
    """Note in `change` that `transaction`, which is new, made `event_id`."""
    event = None if event_id is None else base64.urlsafe_b64decode(event_id[1:] + "=")
    change.write(_RECORD, change.position, transaction.digest(), event, transaction.transaction_id, now_ms)
    if change.position % _EXPIRE_EVERY == 0:
        expire(change, now_ms - KEPT_MS)


def expire(change: Change, before_ms: int) -> None:
    """Forget some of the oldest transactions, those made before `before_ms`.

    One made while the clock was not set is as old as the next one that knows its time.
    """
    oldest = change.rows("SELECT position, at_ms FROM client_transaction ORDER BY position LIMIT ?", _EXPIRE_AT_MOST)
    young = next((number for number, (_, at_ms) in enumerate(oldest) if at_ms >= before_ms), len(oldest))
    last = max((number + 1 for number, (_, at_ms) in enumerate(oldest[:young]) if was_set(at_ms)), default=0)
    if young == _EXPIRE_AT_MOST and not last:
        last = _EXPIRE_EVERY
    if last:
        change.write(_EXPIRE, oldest[last - 1][0])


def sending_path(room: RoomId, event_type: str) -> str:
    """Return the `path` of transactions that send events of a type to a room, redactions included."""
    return f"send/{room}/{event_type}"


def transaction_of(index: Index, session: Session, stored: StoredEvent) -> str | None:
    """Return the transaction id with which this very device sent `stored`, None if another device did."""
    row = index.row("SELECT request, event, text FROM client_transaction WHERE position = ?", stored.position)
    if row is None or row[1] is None or _event_id(row[1]) != stored.event_id:
        return None
    path = sending_path(stored.room_id, stored.event.type)
    text: str = row[2]
    return text if ClientTransaction(session.user, session.device, path, text).digest() == row[0] else None


def _event_id(digest: bytes) -> EventId:
    return EventId("$" + base64.urlsafe_b64encode(digest).decode("ascii").rstrip("="))
