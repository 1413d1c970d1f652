"""What a room is now, or was when one left: state and members (client-server API, "Getting events for a room")."""

from typing import Any

from relay.base.errors import NotFoundError
from relay.base.ids import RoomId, UserId
from relay.client_api.door import Door, Reply
from relay.client_api.fields import room_of
from relay.client_api.room_access import MEMBER, Access, reading, require_joined
from relay.client_api.tokens import order_of
from relay.core.matrix.events import Event, client_format
from relay.delivery.ledger import Index, Ledger
from relay.household.sessions import Session
from relay.rooms.matrix import timeline
from relay.rooms.matrix.storage import graph, members
from relay.transport.message import Request, Response


class RoomState:
    """The endpoints that read state."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def whole(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/state`; the reply is a list, not an object."""
        events = await self._ledger.read(_whole, room_of(request), session.user)
        return Response.json([client_format(event) for event in events])

    async def one(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/state/{eventType}/{stateKey}`: the content, or the event with `format=event`."""
        key = (request.params["eventType"], request.params.get("stateKey", ""))
        event = await self._ledger.read(_one, room_of(request), session.user, key)
        return client_format(event) if request.argument("format") == "event" else dict(event.content)

    async def members(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/members`, as of `at`, of some memberships only."""
        wanted, unwanted = request.argument("membership"), request.argument("not_membership")
        at = request.argument("at")
        order = None if not at else order_of(at)
        events = await self._ledger.read(_members, room_of(request), session.user, order)
        chunk = [
            client_format(event)
            for event in events
            if (wanted is None or event.content.get("membership") == wanted)
            and (unwanted is None or event.content.get("membership") != unwanted)
        ]
        return {"chunk": chunk}

    async def joined_members(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/joined_members`."""
        events = await self._ledger.read(_joined_members, room_of(request), session.user)
        return {"joined": {event.key[1]: _shown(event) for event in events}}


def register(door: Door, room_state: RoomState) -> None:
    """Hang the endpoints."""
    rooms = "/_matrix/client/v3/rooms/{roomId}"
    door.private("GET", f"{rooms}/state", room_state.whole)
    door.private("GET", f"{rooms}/state/{{eventType}}", room_state.one)
    door.private("GET", f"{rooms}/state/{{eventType}}/{{stateKey}}", room_state.one)
    door.private("GET", f"{rooms}/members", room_state.members)
    door.private("GET", f"{rooms}/joined_members", room_state.joined_members)


def _whole(index: Index, room: RoomId, user: UserId) -> list[Event]:
    return reading(index, room, user).whole_state(index)


def _one(index: Index, room: RoomId, user: UserId, key: tuple[str, str]) -> Event:
    found = reading(index, room, user).events(index, [key])
    if key not in found:
        raise NotFoundError("the room has no such state")
    return found[key]


def _members(index: Index, room: RoomId, user: UserId, order: int | None) -> list[Event]:
    access = reading(index, room, user)
    if order is not None and access.departure is None:
        access = _as_of(index, access, order)
    if access.departure is None:
        return members.member_events(index, room)
    return [event for event in access.whole_state(index) if event.type == MEMBER]


def _as_of(index: Index, access: Access, order: int) -> Access:
    """Return `access` ending at `order`: state is read after the last event before it."""
    info = graph.room(index, access.room)
    if info is None or timeline.order_at(info.changed) <= order:
        return access
    page = timeline.page(index, access.room, order, None, backwards=True, limit=1)
    return Access(access.room, page.events[0].event_id) if page.events else access


def _joined_members(index: Index, room: RoomId, user: UserId) -> list[Event]:
    require_joined(index, room, user)
    return [event for event in members.member_events(index, room) if event.content.get("membership") == "join"]


def _shown(event: Event) -> dict[str, Any]:
    shown = {"display_name": event.content.get("displayname"), "avatar_url": event.content.get("avatar_url")}
    return {key: value for key, value in shown.items() if isinstance(value, str)}
