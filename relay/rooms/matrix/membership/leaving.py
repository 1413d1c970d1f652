"""Leaving rooms and refusing invites, also where this box is not in the room.

Source: Matrix S2S v1.19, "Leaving Rooms (Rejecting Invites)".
"""

from collections.abc import Mapping
from typing import Any

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError, NotFoundError, PeerRefusedError, UnreachableError
from relay.base.ids import RoomId, ServerName, UserId
from relay.base.log import get_logger, tag
from relay.core.matrix.room_versions import room_version
from relay.core.matrix.signing import SigningKey
from relay.rooms.matrix.deciding.writer import RoomWriter
from relay.rooms.matrix.membership import invites
from relay.rooms.matrix.membership.joining import fill_in
from relay.rooms.matrix.peers import RoomPeers
from relay.rooms.matrix.storage import members
from relay.store.ledger import Ledger

log = get_logger()


class Leaving:
    """The way out of rooms for users of this box."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        peers: RoomPeers,
        writer: RoomWriter,
        server: ServerName,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._peers = peers
        self._writer = writer
        self._server = server
        self._key = key
        self._clock = clock

    async def leave(self, user: UserId, room: RoomId, content: Mapping[str, Any] | None = None) -> None:
        """Leave a room, refuse an invite or take back a knock; leaving twice is no error.

        Refusing an invite from elsewhere always succeeds here; its server is told if it answers.

        Raises:
            NotFoundError: the user never had to do with the room.
            ForbiddenError: the user is banned.
        """
        wanted = {**(content or {}), "membership": "leave"}
        invite = await self._ledger.read(invites.get, user, room)
        if invite is None:
            await self._leave_here(user, room, wanted)
            return
        try:
            await self._refuse(invite.origin, user, invite, wanted)
        except (UnreachableError, PeerRefusedError, InvalidInputError) as error:
            log.info("rooms.refusal_unheard", peer_tag=tag(invite.origin), code=error.code)
        await self._ledger.run(invites.drop, user, room)

    async def _leave_here(self, user: UserId, room: RoomId, content: Mapping[str, Any]) -> None:
        held = await self._ledger.read(members.membership, room, user)
        if held is None:
            raise NotFoundError("the user is not in this room")
        if held == "leave":
            return
        await self._writer.send(room, user, "m.room.member", content, state_key=user)

    async def _refuse(
        self, server: ServerName, user: UserId, invite: invites.Invite, content: Mapping[str, Any]
    ) -> None:
        template = await self._peers.make_leave(server, invite.room, user)
        version = room_version(template.get("room_version", "1"))
        event = fill_in(
            template.get("event"),
            version,
            {"type": "m.room.member", "room_id": invite.room, "sender": user, "state_key": user},
            content,
            now_ms=self._clock.wall_ms(),
            server=self._server,
            key=self._key,
        )
        await self._peers.send_leave(server, invite.room, event.event_id, dict(event.raw))
