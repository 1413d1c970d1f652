"""Names that lead to rooms, and the list of rooms that are open to find.

Client-server API, "Room aliases" and "Published room directory".
"""

from typing import Any

from relay.base.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from relay.base.ids import RoomAlias, RoomId, ServerName, UserId, parse_room_alias, parse_room_id, server_of
from relay.base.limits import MAX_DIRECTORY_ROOMS
from relay.client_api.door import Authenticate, Door, Reply, access_token, grows, json_object
from relay.client_api.fields import optional_int, optional_object, optional_text, required_text, room_of
from relay.client_api.room_access import is_world_readable, reading, require_joined
from relay.core.matrix.power_levels import CREATE_KEY, POWER_LEVELS_KEY, PowerLevels
from relay.delivery.ledger import Change, Index, Ledger
from relay.household.sessions import Session
from relay.rooms.matrix import aliases
from relay.rooms.matrix.membership.joining import Joining
from relay.rooms.matrix.storage import graph, members, state
from relay.transport.message import Request

CANONICAL_ALIAS = "m.room.canonical_alias"


class AliasInUseError(ConflictError):
    """The alias leads to a room already (status 409, `M_UNKNOWN`)."""

    code = "room.alias_in_use"


class RoomDirectory:
    """The endpoints."""

    def __init__(self, ledger: Ledger, joining: Joining, server: ServerName, authenticate: Authenticate) -> None:
        self._ledger = ledger
        self._authenticate = authenticate
        self._joining = joining
        self._server = server

    async def resolve(self, request: Request) -> Reply:
        """`GET /directory/room/{roomAlias}`; an alias of another server is asked there, for people of this box only."""
        alias = _alias_of(request)
        if server_of(alias) != self._server:
            # Strangers could make the box call any server they name.
            await self._authenticate(access_token(request))
            room, servers = await self._joining.resolve_alias(alias)
            return {"room_id": room, "servers": list(servers)}
        return await self._ledger.read(_resolve, alias, self._server)

    async def create(self, session: Session, request: Request) -> Reply:
        """`PUT /directory/room/{roomAlias}`."""
        alias = self._own_alias(request)
        room = parse_room_id(required_text(await json_object(request), "room_id"))
        await self._ledger.run(_create, alias, room, session.user)
        return None

    async def delete(self, session: Session, request: Request) -> Reply:
        """`DELETE /directory/room/{roomAlias}`."""
        await self._ledger.run(_delete, self._own_alias(request), session.user)
        return None

    async def of_room(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/aliases`."""
        return {"aliases": await self._ledger.read(_of_room, room_of(request), session.user)}

    async def visibility(self, request: Request) -> Reply:
        """`GET /directory/list/room/{roomId}`."""
        return {"visibility": await self._ledger.read(_visibility, room_of(request))}

    async def set_visibility(self, session: Session, request: Request) -> Reply:
        """`PUT /directory/list/room/{roomId}`."""
        wanted = optional_text(await json_object(request), "visibility") or "public"
        if wanted not in ("public", "private"):
            raise InvalidInputError("visibility is public or private")
        await self._ledger.run(_set_visibility, room_of(request), session.user, wanted == "public")
        return None

    async def public_rooms(self, request: Request) -> Reply:
        """`GET /publicRooms`."""
        return await self._public_rooms(request.argument("server"), request.argument("limit"), "")

    async def search_public_rooms(self, _session: Session, request: Request) -> Reply:
        """`POST /publicRooms`."""
        body = await json_object(request)
        limit = optional_int(body, "limit")
        term = optional_text(optional_object(body, "filter"), "generic_search_term") or ""
        return await self._public_rooms(request.argument("server"), None if limit is None else str(limit), term)

    async def _public_rooms(self, server: str | None, limit: str | None, term: str) -> Reply:
        if server and server != self._server:
            # Other servers' lists are not asked for; nothing is listed under their name here.
            return {"chunk": [], "total_room_count_estimate": 0}
        rooms = await self._ledger.read(_published, term.casefold())
        most = int(limit) if limit and limit.isascii() and limit.isdigit() and len(limit) < 10 else MAX_DIRECTORY_ROOMS
        return {"chunk": rooms[:most], "total_room_count_estimate": len(rooms)}

    def _own_alias(self, request: Request) -> RoomAlias:
        alias = _alias_of(request)
        if server_of(alias) != self._server:
            raise InvalidInputError("only aliases of this server can be changed here")
        return alias


def register(door: Door, directory: RoomDirectory) -> None:
    """Hang the endpoints."""
    v3 = "/_matrix/client/v3"
    door.public("GET", f"{v3}/directory/room/{{roomAlias}}", directory.resolve)
    door.private("PUT", f"{v3}/directory/room/{{roomAlias}}", directory.create, grows=grows)
    door.private("DELETE", f"{v3}/directory/room/{{roomAlias}}", directory.delete)
    door.private("GET", f"{v3}/rooms/{{roomId}}/aliases", directory.of_room)
    door.public("GET", f"{v3}/directory/list/room/{{roomId}}", directory.visibility)
    door.private("PUT", f"{v3}/directory/list/room/{{roomId}}", directory.set_visibility)
    door.public("GET", f"{v3}/publicRooms", directory.public_rooms)
    door.private("POST", f"{v3}/publicRooms", directory.search_public_rooms)


def _alias_of(request: Request) -> RoomAlias:
    return parse_room_alias(request.params["roomAlias"])


def _resolve(index: Index, alias: RoomAlias, server: ServerName) -> dict[str, Any]:
    room = aliases.resolve(index, alias)
    if room is None:
        raise NotFoundError("there is no such room alias")
    return {"room_id": room, "servers": sorted({server, *members.joined_servers(index, room)})}


def _create(change: Change, alias: RoomAlias, room: RoomId, user: UserId) -> None:
    require_joined(change, room, user)
    try:
        aliases.create(change, alias, room, user)
    except ConflictError as error:
        raise AliasInUseError(str(error)) from None


def _delete(change: Change, alias: RoomAlias, user: UserId) -> None:
    room = aliases.resolve(change, alias)
    if room is None:
        raise NotFoundError("there is no such room alias")
    if aliases.creator(change, alias) != user and not _may_name(change, room, user):
        raise ForbiddenError("this alias is another user's")
    aliases.delete(change, alias)


def _may_name(index: Index, room: RoomId, user: UserId) -> bool:
    info = graph.room(index, room)
    if info is None or members.membership(index, room, user) != "join":
        return False
    levels = PowerLevels.of(state.current_events(index, room, (CREATE_KEY, POWER_LEVELS_KEY)), info.version)
    return levels.level_of(user) >= levels.needed_for(CANONICAL_ALIAS, is_state=True)


def _of_room(index: Index, room: RoomId, user: UserId) -> list[RoomAlias]:
    reading(index, room, user)
    return aliases.of_room(index, room)


def _visibility(index: Index, room: RoomId) -> str:
    info = graph.room(index, room)
    if info is None:
        raise NotFoundError("this room is not known here")
    return "public" if info.published else "private"


def _set_visibility(change: Change, room: RoomId, user: UserId, published: bool) -> None:  # noqa: FBT001 - a step's argument
    if graph.room(change, room) is None:
        raise NotFoundError("this room is not known here")
    if not _may_name(change, room, user):
        raise ForbiddenError("you may not list this room")
    aliases.set_published(change, room, published=published)


def _published(index: Index, term: str) -> list[dict[str, Any]]:
    listed = (_summary(index, room) for room in aliases.published(index)[:MAX_DIRECTORY_ROOMS])
    found = [
        entry
        for entry in listed
        if not term or any(term in str(entry.get(key, "")).casefold() for key in ("name", "topic", "canonical_alias"))
    ]
    return sorted(found, key=lambda entry: (-int(entry["num_joined_members"]), str(entry["room_id"])))


def _summary(index: Index, room: RoomId) -> dict[str, Any]:
    named = {
        "name": ("m.room.name", "name"),
        "topic": ("m.room.topic", "topic"),
        "canonical_alias": (CANONICAL_ALIAS, "alias"),
        "avatar_url": ("m.room.avatar", "url"),
        "join_rule": ("m.room.join_rules", "join_rule"),
        "room_type": ("m.room.create", "type"),
    }
    held = state.current_events(index, room, [(kind, "") for kind, _ in named.values()])
    shown = {key: held[kind, ""].content.get(field) for key, (kind, field) in named.items() if (kind, "") in held}
    guests = state.current_event(index, room, "m.room.guest_access")
    return {
        **{key: value for key, value in shown.items() if isinstance(value, str)},
        "room_id": room,
        "num_joined_members": members.counts(index, room)[0],
        "world_readable": is_world_readable(index, room),
        "guest_can_join": guests is not None and guests.content.get("guest_access") == "can_join",
    }
