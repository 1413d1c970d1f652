"""How far everybody has read.

Lazily stored: a receipt that a power cut undoes is sent again by the app that shows the room.
Source: Matrix C-S v1.19, "Receipts", "Threaded read receipts".
"""

from typing import Any

from relay.base.ids import EventId, RoomId, UserId
from relay.base.limits import MAX_RECEIPT_THREADS
from relay.rooms.matrix.storage import graph, history, members
from relay.rooms.matrix.storage.stored_event import id_blob, id_text
from relay.rooms.matrix.tables import NOTE_RECEIPT, PUT_RECEIPT
from relay.store.ledger import Change, Index

KINDS = ("m.read", "m.read.private")


def set_receipt(  # noqa: PLR0917 - one fact of a receipt each
    change: Change, room: RoomId, user: UserId, kind: str, event_id: EventId, thread_id: str | None, ts_ms: int
) -> bool:
    """Note that a joined user has read up to an event; False if that is no news.

    Args:
        change: where it is written, and rings ("room", room).
        room: the room.
        user: of any server.
        kind: one of `KINDS`.
        event_id: need not be here yet.
        thread_id: None or "" for an unthreaded receipt, "main", or the root of a thread.
        ts_ms: when it was read.
    """
    thread = thread_id or ""
    if kind not in KINDS or members.membership(change, room, user) != "join":
        return False
    room_number, user_number = change.intern(room), change.intern(user)
    held = change.value(
        "SELECT event FROM receipts WHERE room = ? AND user = ? AND kind = ? AND thread = ?",
        room_number,
        user_number,
        kind,
        thread,
    )
    if held is None and _threads(change, room_number, user_number) >= MAX_RECEIPT_THREADS:
        return False
    if held is not None and not _is_later(change, id_text(held), event_id):
        return False
    change.write(PUT_RECEIPT, room_number, user_number, kind, thread, id_blob(event_id), ts_ms, change.position)
    change.write(NOTE_RECEIPT, room_number, change.position)
    change.wake(("room", room))
    return True


def _threads(index: Index, room: int, user: int) -> int:
    return int(index.value("SELECT count(*) FROM receipts WHERE room = ? AND user = ?", room, user))


def _is_later(index: Index, old: EventId, new: EventId) -> bool:
    if old == new:
        return False
    before, after = graph.event(index, old), graph.event(index, new)
    if before is None or before.order is None:
        return True
    return after is not None and after.order is not None and after.order > before.order


def rooms_with_news(index: Index, after_position: int) -> set[RoomId]:
    """Return the rooms with receipts after a position."""
    rows = index.rows("SELECT room FROM receipt_news WHERE position > ? ORDER BY room", after_position)
    return {RoomId(index.name(room)) for (room,) in rows}


def receipts_since(index: Index, room: RoomId, after_position: int, for_user: UserId) -> dict[str, Any]:
    """Return the content of an m.receipt event: what came after a position, private receipts of `for_user` only."""
    rows = index.rows(
        "SELECT user, kind, thread, event, ts_ms FROM receipts WHERE room = ? AND position > ? ORDER BY position",
        index.find(room),
        after_position,
    )
    content: dict[str, Any] = {}
    own = index.find(for_user)
    for user, kind, thread, event, ts_ms in rows:
        if kind == "m.read.private" and user != own:
            continue
        receipt = {"ts": ts_ms, "thread_id": thread} if thread else {"ts": ts_ms}
        content.setdefault(id_text(event), {}).setdefault(kind, {})[index.name(user)] = receipt
    return content


def own_orders(index: Index, room: RoomId, user: UserId) -> dict[str, int]:
    """Return thread id ("" unthreaded, "main", or a root) -> order of the newest event the user has read there.

    An event that is gone was read with everything else that is gone.
    """
    horizon = history.horizon(index, room)
    rows = index.rows(
        "SELECT thread, event FROM receipts WHERE room = ? AND user = ? ORDER BY kind, thread",
        index.find(room),
        index.find(user),
    )
    orders: dict[str, int] = {}
    for thread, event in rows:
        stored = graph.event(index, id_text(event))
        order = None if stored is None else stored.order
        if order is None and horizon > 0:
            order = horizon - 1
        if order is not None:
            orders[thread] = max(orders.get(thread, order), order)
    return orders
