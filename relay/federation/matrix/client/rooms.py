"""What the rooms ask of other servers.

Source: Matrix S2S v1.19; the endpoint stands in each line. Nothing is believed here: shapes are checked, contents are
the rooms' to judge.
"""

from collections.abc import Sequence
from typing import Any

from relay.base.errors import InvalidInputError, UnreachableError
from relay.base.ids import EventId, RoomAlias, RoomId, ServerName, UserId, parse_room_id, parse_server_name
from relay.base.limits import JOIN_TIMEOUT_S, MAX_DIRECTORY_SERVERS, MAX_PEER_KEYS_BYTES, MAX_PEER_ROOM_BYTES
from relay.federation.matrix.client.client import FederationClient, path_of

Json = dict[str, Any]

_V1 = "/_matrix/federation/v1"
_V2 = "/_matrix/federation/v2"


class MatrixRoomPeers:
    """Asks about rooms; as `rooms.matrix.peers.RoomPeers`."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def make_join(self, server: ServerName, room: RoomId, user: UserId, versions: Sequence[str]) -> Json:
        """GET v1/make_join."""
        query = [("ver", version) for version in versions]
        return await self._client.get(server, path_of(f"{_V1}/make_join", room, user), query)

    async def send_join(self, server: ServerName, room: RoomId, event_id: EventId, pdu: Json) -> Json:
        """PUT v2/send_join; the answer of a large room takes its time."""
        path = path_of(f"{_V2}/send_join", room, event_id)
        return await self._client.put(server, path, pdu, timeout_s=JOIN_TIMEOUT_S, limit_bytes=MAX_PEER_ROOM_BYTES)

    async def make_leave(self, server: ServerName, room: RoomId, user: UserId) -> Json:
        """GET v1/make_leave."""
        return await self._client.get(server, path_of(f"{_V1}/make_leave", room, user))

    async def send_leave(self, server: ServerName, room: RoomId, event_id: EventId, pdu: Json) -> None:
        """PUT v2/send_leave."""
        await self._client.put(server, path_of(f"{_V2}/send_leave", room, event_id), pdu)

    async def invite(self, server: ServerName, room: RoomId, event_id: EventId, body: Json) -> Json:
        """PUT v2/invite."""
        return await self._client.put(server, path_of(f"{_V2}/invite", room, event_id), body)

    async def backfill(
        self, server: ServerName, room: RoomId, from_events: Sequence[EventId], limit: int
    ) -> list[Json]:
        """GET v1/backfill."""
        query = [*(("v", str(event_id)) for event_id in from_events), ("limit", str(limit))]
        return _objects(await self._client.get(server, path_of(f"{_V1}/backfill", room), query), "pdus")

    async def missing_events(
        self,
        server: ServerName,
        room: RoomId,
        *,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
        min_depth: int = 0,
    ) -> list[Json]:
        """POST v1/get_missing_events."""
        content: Json = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        return _objects(await self._client.post(server, path_of(f"{_V1}/get_missing_events", room), content), "events")

    async def state_ids(
        self, server: ServerName, room: RoomId, event_id: EventId
    ) -> tuple[list[EventId], list[EventId]]:
        """GET v1/state_ids."""
        path, query = path_of(f"{_V1}/state_ids", room), [("event_id", str(event_id))]
        answer = await self._client.get(server, path, query, timeout_s=JOIN_TIMEOUT_S, limit_bytes=MAX_PEER_ROOM_BYTES)
        return _ids(answer, "pdu_ids"), _ids(answer, "auth_chain_ids")

    async def state(self, server: ServerName, room: RoomId, event_id: EventId) -> tuple[list[Json], list[Json]]:
        """GET v1/state."""
        path, query = path_of(f"{_V1}/state", room), [("event_id", str(event_id))]
        answer = await self._client.get(server, path, query, timeout_s=JOIN_TIMEOUT_S, limit_bytes=MAX_PEER_ROOM_BYTES)
        return _objects(answer, "pdus"), _objects(answer, "auth_chain")

    async def event(self, server: ServerName, event_id: EventId) -> Json:
        """GET v1/event."""
        pdus = _objects(await self._client.get(server, path_of(f"{_V1}/event", event_id)), "pdus")
        if not pdus:
            raise UnreachableError("the server answered without the event")
        return pdus[0]

    async def event_auth(self, server: ServerName, room: RoomId, event_id: EventId) -> list[Json]:
        """GET v1/event_auth."""
        path = path_of(f"{_V1}/event_auth", room, event_id)
        return _objects(await self._client.get(server, path, limit_bytes=MAX_PEER_ROOM_BYTES), "auth_chain")

    async def server_keys(self, server: ServerName) -> Json:
        """GET key/v2/server; unsigned, as the peer may not know our key yet."""
        path = "/_matrix/key/v2/server"
        return await self._client.get(server, path, signed=False, limit_bytes=MAX_PEER_KEYS_BYTES)

    async def query_directory(self, server: ServerName, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """GET v1/query/directory."""
        answer = await self._client.get(server, f"{_V1}/query/directory", [("room_alias", str(alias))])
        try:
            room = parse_room_id(_text(answer.get("room_id")))
            servers = [parse_server_name(_text(name)) for name in _list(answer, "servers")[:MAX_DIRECTORY_SERVERS]]
        except InvalidInputError:
            raise UnreachableError("the server answered with a malformed room") from None
        return room, servers


def _list(answer: Json, name: str) -> list[Any]:
    value = answer.get(name)
    if not isinstance(value, list):
        raise UnreachableError(f"the server answered without {name}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInputError("not a text")
    return value


def _objects(answer: Json, name: str) -> list[Json]:
    return [entry for entry in _list(answer, name) if isinstance(entry, dict)]


def _ids(answer: Json, name: str) -> list[EventId]:
    return [EventId(entry) for entry in _list(answer, name) if isinstance(entry, str)]
