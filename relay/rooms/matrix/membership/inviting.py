"""Inviting users, also of other servers, which sign the invite before anybody else hears of it.

Source: Matrix S2S v1.19, "Inviting to a room".
"""

from collections.abc import Callable, Mapping
from typing import Any

from relay.base.clock import Clock
from relay.base.errors import ForbiddenError, InvalidInputError
from relay.base.ids import EventId, RoomId, ServerName, UserId, server_of
from relay.core.matrix.events import Event
from relay.core.matrix.signing import SigningKey
from relay.rooms.matrix.deciding.acceptance import Manner, Missing
from relay.rooms.matrix.deciding.accepting import Acceptor
from relay.rooms.matrix.deciding.checking import EventChecker
from relay.rooms.matrix.deciding.drafting import Draft, held_room, make
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.membership.hosting import invited_state
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.server_keys import ServerKeys
from relay.rooms.matrix.storage import members
from relay.store.ledger import Change, Index, Ledger


class Inviting:
    """Puts the question to users here and elsewhere."""

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
        self._acceptor = Acceptor(ledger, server)
        self._writer = writer
        self._server = server
        self._key = key
        self._clock = clock

    async def invite(
        self,
        sender: UserId,
        room: RoomId,
        target: UserId,
        content: Mapping[str, Any] | None = None,
        *,
        extra: Callable[[Change, EventId], None] | None = None,
    ) -> EventId:
        """Invite a user; durable, and known to the user's server, on return.

        Raises:
            NotFoundError: the room is not known here.
            ForbiddenError: the room's rules say no.
            PeerRefusedError: the user's server said no.
            UnreachableError: the user's server did not answer.
            InvalidInputError: the user's server answered something else than the signed invite.
        """
        wanted = {**(content or {}), "membership": "invite"}
        if server_of(target) == self._server:
            return await self._writer.send(room, sender, "m.room.member", wanted, state_key=target, extra=extra)
        draft = Draft(
            sender=sender, type="m.room.member", content=wanted, state_key=target, now_ms=self._clock.wall_ms()
        )
        event, shown, in_room = await self._ledger.read(self._prepare, room, draft, server_of(target))
        if not in_room:
            event = await self._signed(event, shown, server_of(target))
        stored = await self._acceptor.accept(
            room,
            event,
            manner=Manner(depart=True),
            strict=True,
            also=None if extra is None else lambda change: extra(change, event.event_id),
        )
        if isinstance(stored, Missing) or stored.rejected or stored.soft_failed:
            raise ForbiddenError("the rules of the room refuse the invite")
        return event.event_id

    def _prepare(
        self, index: Index, room: RoomId, draft: Draft, server: ServerName
    ) -> tuple[Event, list[dict[str, Any]], bool]:
        event = make(index, held_room(index, room), draft, self._server, self._key)
        return event, invited_state(index, room), members.server_joined(index, room, server)

    async def _signed(self, event: Event, shown: list[dict[str, Any]], server: ServerName) -> Event:
        body = {"event": dict(event.raw), "room_version": event.version.id, "invite_room_state": shown}
        reply = await self._peers.invite(server, event.room_id, event.event_id, body)
        answered = reply.get("event")
        good = await self._checker.check_good([answered], event.version) if isinstance(answered, dict) else {}
        signed = good.get(event.event_id)
        if signed is None:
            raise InvalidInputError("the invited user's server answered with another event")
        return signed
