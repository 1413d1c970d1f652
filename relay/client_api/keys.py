"""Keys of devices: upload, query, claim, changes (client-server API, "End-to-End Encryption")."""

from collections.abc import Awaitable, Callable
from typing import Any

from relay.base.errors import InvalidInputError, MissingParamError
from relay.base.ids import DeviceId, UserId, parse_user_id
from relay.base.limits import DEFAULT_KEY_QUERY_TIMEOUT_MS, MAX_KEY_QUERY_TIMEOUT_MS
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import optional_int, optional_object, required_object
from relay.client_api.login import NoteDevices
from relay.delivery.ledger import Change, Ledger
from relay.household import device_keys
from relay.household.key_queries import KeyQueries
from relay.household.sessions import Session
from relay.transport.message import Request

DeviceChanges = Callable[[UserId, str, str], Awaitable[dict[str, Any]]]
"""(user, from token, to token) -> `changed` and `left`: delivery's, as it is part of a sync."""


def register(door: Door, ledger: Ledger, queries: KeyQueries, note: NoteDevices, changes: DeviceChanges) -> None:
    """Hang the endpoints of device keys here."""
    endpoints = _KeyEndpoints(ledger, queries, note, changes)
    door.private("POST", "/_matrix/client/v3/keys/upload", endpoints.upload)
    door.private("POST", "/_matrix/client/v3/keys/query", endpoints.query)
    door.private("POST", "/_matrix/client/v3/keys/claim", endpoints.claim)
    door.private("GET", "/_matrix/client/v3/keys/changes", endpoints.changes)


class _KeyEndpoints:
    def __init__(self, ledger: Ledger, queries: KeyQueries, note: NoteDevices, changes: DeviceChanges) -> None:
        self._ledger = ledger
        self._queries = queries
        self._note = note
        self._changes = changes

    async def upload(self, session: Session, request: Request) -> Reply:
        body = await json_object(request)
        identity = None if body.get("device_keys") is None else required_object(body, "device_keys")
        one_time, fallback = optional_object(body, "one_time_keys"), optional_object(body, "fallback_keys")

        def step(change: Change) -> dict[str, int]:
            if device_keys.upload(change, session.user, session.device, identity, one_time, fallback):
                self._note(change, session.user, session.device)
            return device_keys.counts(change, session.user, session.device)

        return {"one_time_key_counts": await self._ledger.run(step)}

    async def query(self, session: Session, request: Request) -> Reply:
        body = await json_object(request)
        wanted: dict[UserId, list[DeviceId]] = {}
        for user, chosen in required_object(body, "device_keys").items():
            if not isinstance(chosen, list) or not all(isinstance(device, str) for device in chosen):
                raise InvalidInputError("device_keys does not map users to lists of devices")
            wanted[parse_user_id(user)] = chosen
        return await self._queries.query(session.user, wanted, _timeout_s(body))

    async def claim(self, _session: Session, request: Request) -> Reply:
        body = await json_object(request)
        wanted: dict[UserId, dict[DeviceId, str]] = {}
        for user, chosen in required_object(body, "one_time_keys").items():
            if not isinstance(chosen, dict) or not all(isinstance(algorithm, str) for algorithm in chosen.values()):
                raise InvalidInputError("one_time_keys does not map users to devices to algorithms")
            wanted[parse_user_id(user)] = chosen
        return await self._queries.claim(wanted, _timeout_s(body))

    async def changes(self, session: Session, request: Request) -> Reply:
        begin, end = request.argument("from"), request.argument("to")
        if begin is None or end is None:
            raise MissingParamError("from and to are needed")
        return await self._changes(session.user, begin, end)


def _timeout_s(body: dict[str, Any]) -> float:
    asked_ms = optional_int(body, "timeout")
    wanted_ms = DEFAULT_KEY_QUERY_TIMEOUT_MS if asked_ms is None else asked_ms
    return min(max(wanted_ms, 0), MAX_KEY_QUERY_TIMEOUT_MS) / 1000
