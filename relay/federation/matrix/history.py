"""What other servers may read of our rooms, as `rooms.matrix.exchange.answering` decides.

Source: Matrix S2S v1.19, "Retrieving events", "Backfilling and retrieving missing events", "Retrieving event
authorisation information".
"""

from typing import Any

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError, MissingParamError
from relay.base.ids import EventId, ServerName, parse_event_id
from relay.base.limits import MAX_BACKFILL_EVENTS, MAX_MISSING_EVENTS_ASKED
from relay.federation.matrix.asking import Asking, parameters
from relay.rooms.matrix.exchange.answering import Answering
from relay.transport.message import Response

_DEFAULT_MISSING = 10


class History:
    """Answers reading requests."""

    def __init__(self, answering: Answering, server: ServerName, clock: Clock) -> None:
        self._answering = answering
        self._server = server
        self._clock = clock

    async def event(self, asking: Asking) -> Response:
        """GET v1/event: one event, in the form of a transaction."""
        return self._transaction([await self._answering.event(asking.origin, asking.event())])

    async def state(self, asking: Asking) -> Response:
        """GET v1/state: the state before an event, whole."""
        return Response.json(await self._answering.state(asking.origin, asking.room(), asking.event_argument()))

    async def state_ids(self, asking: Asking) -> Response:
        """GET v1/state_ids: the same, ids only."""
        return Response.json(await self._answering.state_ids(asking.origin, asking.room(), asking.event_argument()))

    async def event_auth(self, asking: Asking) -> Response:
        """GET v1/event_auth."""
        return Response.json(await self._answering.event_auth(asking.origin, asking.room(), asking.event()))

    async def backfill(self, asking: Asking) -> Response:
        """GET v1/backfill: `v` events and what came before them, newest first."""
        named = asking.request.query.get("v", [])
        if not named:
            raise MissingParamError("v is missing")
        if asking.request.argument("limit") is None:
            raise MissingParamError("limit is missing")
        with parameters():
            starts = [parse_event_id(text) for text in named[:MAX_BACKFILL_EVENTS]]
        limit = asking.limit(MAX_BACKFILL_EVENTS, MAX_BACKFILL_EVENTS)
        return self._transaction(await self._answering.backfill(asking.origin, asking.room(), starts, limit))

    async def missing_events(self, asking: Asking) -> Response:
        """POST v1/get_missing_events."""
        content = asking.object()
        earliest, latest = _ids(content.get("earliest_events")), _ids(content.get("latest_events"))
        limit = _count(content.get("limit", _DEFAULT_MISSING), "limit")
        events = await self._answering.missing_events(
            asking.origin,
            asking.room(),
            earliest=earliest,
            latest=latest,
            limit=min(limit, MAX_MISSING_EVENTS_ASKED),
            min_depth=_count(content.get("min_depth", 0), "min_depth"),
        )
        return Response.json({"events": events})

    def _transaction(self, pdus: list[dict[str, Any]]) -> Response:
        return Response.json({"origin": self._server, "origin_server_ts": self._clock.wall_ms(), "pdus": pdus})


def _ids(value: object) -> list[EventId]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidInputError("earliest_events and latest_events are lists of event ids")
    return [parse_event_id(entry) for entry in value[:MAX_BACKFILL_EVENTS]]


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise InvalidInputError(f"{name} is not a number")
    return value
