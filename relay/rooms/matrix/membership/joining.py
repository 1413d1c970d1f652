"""Joining rooms: at once where this box is in the room, else through a resident server.

Source: Matrix S2S v1.19, "Joining Rooms".
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import trio

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError, NotFoundError, PeerRefusedError, RelayError, UnreachableError
from relay.base.ids import (
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_room_alias,
    parse_room_id,
    server_of,
)
from relay.base.limits import MAX_JOIN_VIA
from relay.base.log import get_logger, tag
from relay.core.matrix.building import hash_and_sign
from relay.core.matrix.events import Event
from relay.core.matrix.room_versions import SUPPORTED, RoomVersion, room_version
from relay.core.matrix.signing import SigningKey
from relay.rooms.matrix import aliases
from relay.rooms.matrix.deciding.checking import EventChecker
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.membership import invites, join_commit
from relay.rooms.matrix.membership.join_answer import read_answer
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import graph, members
from relay.store.ledger import Index, Ledger

log = get_logger()


class Joining:
    """The way into rooms for users of this box."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        peers: RoomPeers,
        keys: ServerKeys,
        writer: RoomWriter,
        server: ServerName,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._peers = peers
        self._checker = EventChecker(keys)
        self._writer = writer
        self._server = server
        self._key = key
        self._clock = clock
        self._under_way: dict[RoomId, trio.Lock] = {}

    async def join(
        self,
        user: UserId,
        room_or_alias: str,
        via: Sequence[ServerName] = (),
        content: Mapping[str, Any] | None = None,
    ) -> RoomId:
        """Join a room; durable, and complete, on return.

        Args:
            user: of this box.
            room_or_alias: a room id or an alias.
            via: servers to ask where this box is not in the room; those that sent an invite are asked too.
            content: of the member event beside `membership`.

        Raises:
            NotFoundError: no such alias, or nobody to ask.
            ForbiddenError: the room's rules say no.
            PeerRefusedError: a resident server said no.
            UnreachableError: no resident server answered.
            InvalidInputError: what a resident answered does not hold together.
        """
        room, servers = await self._find(room_or_alias, via)
        wanted = {**(content or {}), "membership": "join"}
        async with self._one_at_a_time(room):
            if await self._ledger.read(members.server_joined, room, self._server):
                await self._writer.send(room, user, "m.room.member", wanted, state_key=user)
                return room
            asked = await self._ledger.read(_candidates, user, room, self._server)
            await self._join_through_any(user, room, list(dict.fromkeys([*asked, *servers])), wanted)
        return room

    async def _find(self, room_or_alias: str, via: Sequence[ServerName]) -> tuple[RoomId, list[ServerName]]:
        if not room_or_alias.startswith("#"):
            return parse_room_id(room_or_alias), list(via)
        room, servers = await self.resolve_alias(parse_room_alias(room_or_alias))
        return room, [*via, *servers]

    async def resolve_alias(self, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """Return the room of an alias and the servers that may help to join it, asking the alias's server.

        Raises:
            NotFoundError: there is no such alias.
            UnreachableError: its server does not answer.
        """
        if server_of(alias) != self._server:
            return await self._peers.query_directory(server_of(alias), alias)
        room = await self._ledger.read(aliases.resolve, alias)
        if room is None:
            raise NotFoundError("there is no such room alias")
        return room, sorted(await self._ledger.read(members.joined_servers, room) | {self._server})

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, room: RoomId) -> AsyncIterator[None]:
        lock = self._under_way.setdefault(room, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._under_way.pop(room, None)

    async def _join_through_any(
        self, user: UserId, room: RoomId, servers: list[ServerName], content: Mapping[str, Any]
    ) -> None:
        if ":" in room and server_of(room) not in servers:
            servers.append(server_of(room))
        failure: RelayError = NotFoundError("no server is known that could help to join this room")
        for server in [name for name in servers if name != self._server][:MAX_JOIN_VIA]:
            try:
                await self._join_through(server, user, room, content)
            except (UnreachableError, PeerRefusedError, InvalidInputError) as error:
                log.info("rooms.join_refused", peer_tag=tag(server), code=error.code)
                failure = _clearer(failure, error)
            else:
                return
        raise failure

    async def _join_through(self, server: ServerName, user: UserId, room: RoomId, content: Mapping[str, Any]) -> None:
        template = await self._peers.make_join(server, room, user, sorted(SUPPORTED, key=int))
        version = room_version(template.get("room_version", "1"))
        event = self._fill_in(template.get("event"), version, user, room, content)
        number = await self._ledger.run(join_commit.begin, room, version)
        try:
            reply = await self._peers.send_join(server, room, event.event_id, dict(event.raw))
            answer = await read_answer(reply, event, self._checker)
            await join_commit.store_in_batches(self._ledger, number, version, answer, self._server)
            await self._ledger.run(join_commit.finish, room, version, answer, self._server)
        except RelayError:
            await self._ledger.run(join_commit.abandon, number)
            raise
        log.info("rooms.joined", room_tag=tag(room), state_events=len(answer.state))

    def _fill_in(
        self, template: object, version: RoomVersion, user: UserId, room: RoomId, content: Mapping[str, Any]
    ) -> Event:
        return fill_in(
            template,
            version,
            {"type": "m.room.member", "room_id": room, "sender": user, "state_key": user},
            content,
            now_ms=self._clock.wall_ms(),
            server=self._server,
            key=self._key,
        )


def fill_in(
    template: object,
    version: RoomVersion,
    expected: Mapping[str, str],
    content: Mapping[str, Any],
    *,
    now_ms: int,
    server: ServerName,
    key: SigningKey,
) -> Event:
    """Return the signed event of a `make_*` template; only graph and voucher are taken from it.

    Raises:
        InvalidInputError: the template is malformed, or of something else than `expected`.
    """
    if not isinstance(template, dict):
        raise InvalidInputError("the template is not an event")
    if any(template.get(name) != value for name, value in expected.items()):
        raise InvalidInputError("the template is of another event than asked for")
    offered = template.get("content")
    if not isinstance(offered, dict) or offered.get("membership") != content.get("membership"):
        raise InvalidInputError("the template has another membership than asked for")
    filled = dict(content)
    if "join_authorised_via_users_server" in offered:
        filled["join_authorised_via_users_server"] = offered["join_authorised_via_users_server"]
    kept = ("prev_events", "auth_events", "depth", "type", "room_id", "sender", "state_key")
    raw = {name: template[name] for name in kept if name in template}
    return hash_and_sign({**raw, "content": filled, "origin_server_ts": now_ms}, version, server, key)


def _clearer(first: RelayError, second: RelayError) -> RelayError:
    """A refusal says more than silence, and silence more than having nobody to ask."""
    return first if isinstance(first, PeerRefusedError) else second


def _candidates(index: Index, user: UserId, room: RoomId, here: ServerName) -> list[ServerName]:
    invite = invites.get(index, user, room)
    asked = [] if invite is None else [invite.origin, server_of(UserId(invite.event.sender))]
    if graph.row(index, room) is not None:
        asked += sorted(members.joined_servers(index, room))
    return [server for server in dict.fromkeys(asked) if server != here]
