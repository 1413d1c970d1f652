"""Who is in a room: joining, inviting, leaving, and putting out (client-server API, "Room membership")."""

from typing import Any

from relay.base.errors import ForbiddenError, InvalidInputError
from relay.base.ids import (
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)
from relay.client_api.create_room import member_content
from relay.client_api.door import Door, Reply, grows, json_object
from relay.client_api.fields import optional_text, required_text, room_of
from relay.client_api.inviting import Invites
from relay.client_api.rates import MessageRate
from relay.client_api.room_access import MEMBER
from relay.delivery.ledger import Change, Ledger
from relay.household.sessions import Session
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.membership.leaving import Leaving
from relay.rooms.matrix.storage import members
from relay.transport.message import Request

_MAX_VIA = 20


class Membership:
    """The endpoints that change or list memberships."""

    def __init__(
        self,
        ledger: Ledger,
        writer: RoomWriter,
        invites: Invites,
        rate: MessageRate,
        *,
        joining: Joining,
        leaving: Leaving,
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._joining = joining
        self._leaving = leaving
        self._invites = invites
        self._rate = rate

    async def join(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/join`."""
        return await self._join(session, request, room_of(request))

    async def join_any(self, session: Session, request: Request) -> Reply:
        """`POST /join/{roomIdOrAlias}`."""
        text = request.params["roomIdOrAlias"]
        return await self._join(session, request, parse_room_alias(text) if text[:1] == "#" else parse_room_id(text))

    async def _join(self, session: Session, request: Request, place: RoomId | RoomAlias) -> Reply:
        self._rate.check(session.user)
        body = await json_object(request)
        content = {**await self._ledger.read(member_content, session.user), **_reason(body)}
        room = await self._joining.join(session.user, place, _via(request), content)
        return {"room_id": room}

    async def invite(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/invite`; third-party invites are not offered."""
        self._rate.check(session.user)
        body = await json_object(request)
        target = parse_user_id(required_text(body, "user_id"))
        await self._invites.invite(session.user, room_of(request), target, _reason(body))
        return None

    async def leave(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/leave`; an invite is declined with it. Who is not there has nothing to do."""
        body = await json_object(request)
        room = room_of(request)
        held = await self._ledger.read(members.membership, room, session.user)
        if held == "leave":
            return None
        if held is None:
            raise ForbiddenError("you are not in this room")
        await self._leaving.leave(session.user, room, _reason(body))
        return None

    async def kick(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/kick`."""
        return await self._put_out(session, request, "leave", ("join", "invite", "knock"))

    async def ban(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/ban`."""
        return await self._put_out(session, request, "ban", None)

    async def unban(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/unban`."""
        return await self._put_out(session, request, "leave", ("ban",))

    async def _put_out(
        self, session: Session, request: Request, membership: str, allowed: tuple[str, ...] | None
    ) -> Reply:
        self._rate.check(session.user)
        body = await json_object(request)
        room, target = room_of(request), parse_user_id(required_text(body, "user_id"))
        held = await self._ledger.read(members.membership, room, target)
        if allowed is not None and held not in allowed:
            raise ForbiddenError("this person's membership is another one")
        content = {"membership": membership, **_reason(body)}
        await self._writer.send(room, session.user, MEMBER, content, state_key=target)
        return None

    async def forget(self, session: Session, request: Request) -> Reply:
        """`POST /rooms/{roomId}/forget`."""
        await self._ledger.run(_forget, session.user, room_of(request))
        return None

    async def joined_rooms(self, session: Session, _request: Request) -> Reply:
        """`GET /joined_rooms`."""
        return {"joined_rooms": await self._ledger.read(members.joined_rooms, session.user)}


def register(door: Door, membership: Membership) -> None:
    """Hang the endpoints."""
    rooms = "/_matrix/client/v3/rooms/{roomId}"
    door.private("POST", "/_matrix/client/v3/join/{roomIdOrAlias}", membership.join_any, grows=grows)
    door.private("POST", f"{rooms}/join", membership.join, grows=grows)
    door.private("POST", f"{rooms}/invite", membership.invite, grows=grows)
    door.private("POST", f"{rooms}/leave", membership.leave)
    door.private("POST", f"{rooms}/kick", membership.kick)
    door.private("POST", f"{rooms}/ban", membership.ban)
    door.private("POST", f"{rooms}/unban", membership.unban)
    door.private("POST", f"{rooms}/forget", membership.forget)
    door.private("GET", "/_matrix/client/v3/joined_rooms", membership.joined_rooms)


def _forget(change: Change, user: UserId, room: RoomId) -> None:
    if not members.forget(change, user, room):
        raise StillInRoomError("leave the room first")


class StillInRoomError(InvalidInputError):
    """Only a room that was left can be forgotten (`M_UNKNOWN`, status 400)."""

    code = "room.still_in_room"


def _reason(body: dict[str, Any]) -> dict[str, Any]:
    reason = optional_text(body, "reason")
    return {} if reason is None else {"reason": reason}


def _via(request: Request) -> list[ServerName]:
    named = [*request.query.get("via", ()), *request.query.get("server_name", ())]
    return [parse_server_name(name) for name in list(dict.fromkeys(named))[:_MAX_VIA]]
