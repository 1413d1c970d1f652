"""What the rooms ask of other servers. JSON in and out, nothing checked but that it is JSON."""

from collections.abc import Sequence
from typing import Any, Protocol

from relay.base.ids import EventId, RoomAlias, RoomId, ServerName, UserId


class RoomPeers(Protocol):
    """Requests to one named server each.

    Every method raises UnreachableError where no answer came or it was 5xx, and PeerRefusedError (status, errcode)
    where the answer was a refusal. Source: Matrix S2S v1.19, the endpoint in each line.
    """

    async def make_join(
        self, server: ServerName, room: RoomId, user: UserId, versions: Sequence[str]
    ) -> dict[str, Any]:
        """GET v1/make_join: {"room_version", "event"}."""
        ...

    async def send_join(
        self, server: ServerName, room: RoomId, event_id: EventId, pdu: dict[str, Any]
    ) -> dict[str, Any]:
        """PUT v2/send_join, without omit_members: {"state", "auth_chain", "event"?}."""
        ...

    async def make_leave(self, server: ServerName, room: RoomId, user: UserId) -> dict[str, Any]:
        """GET v1/make_leave: {"room_version", "event"}."""
        ...

    async def send_leave(self, server: ServerName, room: RoomId, event_id: EventId, pdu: dict[str, Any]) -> None:
        """PUT v2/send_leave."""
        ...

    async def invite(self, server: ServerName, room: RoomId, event_id: EventId, body: dict[str, Any]) -> dict[str, Any]:
        """PUT v2/invite with {"event", "room_version", "invite_room_state"}: {"event"}."""
        ...

    async def backfill(
        self, server: ServerName, room: RoomId, from_events: Sequence[EventId], limit: int
    ) -> list[dict[str, Any]]:
        """GET v1/backfill: the `pdus` of the answer."""
        ...

    async def missing_events(
        self,
        server: ServerName,
        room: RoomId,
        *,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
        min_depth: int = 0,
    ) -> list[dict[str, Any]]:
        """POST v1/get_missing_events: the `events` of the answer."""
        ...

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> tuple[list[EventId], list[EventId]]:
        """GET v1/state_ids: (pdu_ids, auth_chain_ids)."""
        ...

    async def state(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """GET v1/state: (pdus, auth_chain)."""
        ...

    async def event(self, server: ServerName, event_id: EventId) -> dict[str, Any]:
        """GET v1/event: the one PDU of the answer."""
        ...

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[dict[str, Any]]:
        """GET v1/event_auth: the `auth_chain` of the answer."""
        ...

    async def server_keys(self, server: ServerName) -> dict[str, Any]:
        """GET key/v2/server: the signed key object."""
        ...

    async def query_directory(self, server: ServerName, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """GET v1/query/directory: (room_id, servers)."""
        ...
