"""How far one has read, and that one is typing.

Client-server API, "Receipts", "Read and unread markers", "Typing Notifications".
"""

from typing import Any

import trio

from relay.base.clock import Clock
from relay.base.errors import ForbiddenError, InvalidInputError
from relay.base.ids import EventId, RoomId, ServerName, UserId, parse_event_id
from relay.base.limits import MAX_TYPING_S
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import event_of, optional_bool, optional_int, optional_text, room_of, user_of
from relay.client_api.room_access import require_joined
from relay.delivery.ledger import Change, Index, Ledger
from relay.delivery.outbox.outboxes import Outboxes
from relay.household import account_data
from relay.household.sessions import Session
from relay.rooms.matrix import receipts
from relay.rooms.matrix.storage import members
from relay.rooms.matrix.typing import Typing
from relay.transport.message import Request

FULLY_READ = "m.fully_read"
_KINDS = ("m.read", "m.read.private", FULLY_READ)


class ReadReceipts:
    """The endpoints."""

    def __init__(self, ledger: Ledger, outboxes: Outboxes, typing: Typing, clock: Clock) -> None:
        self._ledger = ledger
        self._outboxes = outboxes
        self._typing = typing
        self._clock = clock

    async def receipt(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/receipt/{receiptType}/{eventId}`."""
        kind = request.params["receiptType"]
        if kind not in _KINDS:
            raise InvalidInputError("there is no such receipt type")
        body = await json_object(request)
        thread = optional_text(body, "thread_id")
        if thread is not None and (not thread or kind == FULLY_READ):
            raise InvalidInputError("thread_id must be a non-empty text, and fully_read has none")
        await self._mark(session, room_of(request), {kind: event_of(request)}, thread)
        return None

    async def markers(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/read_markers`."""
        body = await json_object(request)
        texts = {kind: optional_text(body, kind) for kind in _KINDS}
        marks = {kind: parse_event_id(text) for kind, text in texts.items() if text is not None}
        await self._mark(session, room_of(request), marks, None)
        return None

    async def _mark(self, session: Session, room: RoomId, marks: dict[str, EventId], thread: str | None) -> None:
        now_ms = self._clock.wall_ms()
        servers = await self._ledger.run(_mark, (session.user, room), marks, thread, now_ms)
        if not servers:
            return
        data: dict[str, Any] = {"ts": now_ms} if thread is None else {"ts": now_ms, "thread_id": thread}
        receipt = {"event_ids": [marks["m.read"]], "data": data}
        edu = {"edu_type": "m.receipt", "content": {room: {"m.read": {session.user: receipt}}}}
        self._outboxes.send_volatile(servers, ("receipt", room, session.user, thread or ""), edu)

    async def typing(self, session: Session, request: Request) -> Reply:
        """`PUT /rooms/{roomId}/typing/{userId}`."""
        room = room_of(request)
        if user_of(request) != session.user:
            raise ForbiddenError("one types for oneself only")
        body = await json_object(request)
        typing = optional_bool(body, "typing")
        timeout_s = min(max(optional_int(body, "timeout") or 30_000, 1) / 1000, MAX_TYPING_S)
        servers = await self._ledger.read(_typing_servers, session.user, room)
        self._typing.set(room, session.user, trio.current_time() + timeout_s if typing else None)
        content = {"room_id": room, "user_id": session.user, "typing": typing}
        edu = {"edu_type": "m.typing", "content": content}
        self._outboxes.send_volatile(servers, ("typing", room, session.user), edu)
        return None


def register(door: Door, read_receipts: ReadReceipts) -> None:
    """Hang the endpoints."""
    rooms = "/_matrix/client/v3/rooms/{roomId}"
    door.private("POST", f"{rooms}/receipt/{{receiptType}}/{{eventId}}", read_receipts.receipt)
    door.private("POST", f"{rooms}/read_markers", read_receipts.markers)
    door.private("PUT", f"{rooms}/typing/{{userId}}", read_receipts.typing)


def _mark(
    change: Change, who: tuple[UserId, RoomId], marks: dict[str, EventId], thread: str | None, now_ms: int
) -> set[ServerName]:
    user, room = who
    require_joined(change, room, user)
    servers: set[ServerName] = set()
    for kind, event_id in marks.items():
        if kind == FULLY_READ:
            # Lazily, as a receipt: a commit for every look at a room would be more flash than the messages.
            account_data.put(change, user, room, FULLY_READ, {"event_id": event_id}, lazy=True)
        elif receipts.set_receipt(change, room, user, kind, event_id, thread, now_ms) and kind == "m.read":
            servers = members.joined_servers(change, room)
    return servers


def _typing_servers(index: Index, user: UserId, room: RoomId) -> set[ServerName]:
    require_joined(index, room, user)
    return members.joined_servers(index, room)
