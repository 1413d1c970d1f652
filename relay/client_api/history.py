"""Reading back: pages of a timeline, one event, and what stands around it.

Client-server API, "Getting events for a room" and "Event context".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import trio

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError, MissingParamError, NotFoundError, RelayError
from relay.base.ids import EventId, RoomId, UserId
from relay.base.limits import BACKFILL_WAIT_S, MAX_PAGE_EVENTS
from relay.client_api.door import Door, Reply
from relay.client_api.fields import event_of, int_argument, room_of
from relay.client_api.room_access import MEMBER, reading
from relay.client_api.tokens import order_of
from relay.core.matrix.canonical_json import parse
from relay.core.matrix.events import client_format
from relay.delivery.bounds.admission import Admission
from relay.delivery.ledger import Index, Ledger
from relay.delivery.sync.filter import EventFilter
from relay.household.sessions import Session
from relay.rooms.matrix import timeline, visibility
from relay.rooms.matrix.exchange.backfill import Backfiller
from relay.rooms.matrix.storage import graph, state
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent
from relay.rooms.matrix.timeline import Page
from relay.transport.message import Request

DEFAULT_PAGE_EVENTS = 10
# A page without anything the app may see or wants is not worth an answer; but nobody waits for ever either.
_EMPTY_PAGES = 8


@dataclass(frozen=True, slots=True)
class _Asked:
    user: UserId
    room: RoomId
    start: int | None
    end: int | None
    backwards: bool
    limit: int
    wanted: EventFilter


@dataclass(frozen=True, slots=True)
class _Near:
    user: UserId
    room: RoomId
    event_id: EventId
    limit: int
    wanted: EventFilter


class History:
    """The endpoints that read back."""

    def __init__(self, ledger: Ledger, backfiller: Backfiller, clock: Clock, admission: Admission) -> None:
        self._ledger = ledger
        self._admission = admission
        self._backfiller = backfiller
        self._clock = clock

    async def messages(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/messages`; what other servers have of the past is fetched where ours ends."""
        asked = _read_page_request(session, request)
        page = await self._page(asked)
        start, shown = page.start, await self._show(asked, page)
        for _ in range(_EMPTY_PAGES):
            if shown["chunk"] or page.end is None:
                break
            asked = replace(asked, start=timeline.parse_token(page.end))
            page = await self._page(asked)
            shown = await self._show(asked, page)
        shown["start"] = request.argument("from") or start
        if page.end is not None:
            shown["end"] = page.end
        return shown

    async def _show(self, asked: _Asked, page: Page) -> dict[str, Any]:
        return await self._ledger.read(_show, asked, page.events, self._clock.wall_ms())

    async def _page(self, asked: _Asked) -> Page:
        gap = await self._ledger.read(_gap_at_start, asked)
        if gap is not None:
            await self._fill(asked, gap)
        page = await self._ledger.read(_page, asked)
        if page.gap is not None and len(page.events) < asked.limit and await self._fill(asked, page.gap.event_id):
            return await self._ledger.read(_page, asked)
        return page

    async def _fill(self, asked: _Asked, gap: EventId) -> bool:
        """Fetch what came before `gap`; where nobody has it, or there is no room, the page is what is here."""
        if not self._admission.growing_is_welcome:
            return False
        with trio.move_on_after(BACKFILL_WAIT_S):
            try:
                return await self._backfiller.fill(asked.room, gap, asked.limit) > 0
            except RelayError:
                return False
        return False

    async def event(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/event/{eventId}`."""
        stored = await self._ledger.read(_visible_event, session.user, room_of(request), event_of(request))
        return stored.client(now_ms=self._clock.wall_ms())

    async def context(self, session: Session, request: Request) -> Reply:
        """`GET /rooms/{roomId}/context/{eventId}`."""
        limit = int_argument(request, "limit", default=DEFAULT_PAGE_EVENTS, most=MAX_PAGE_EVENTS)
        near = _Near(session.user, room_of(request), event_of(request), limit, _filter(request))
        return await self._ledger.read(_context, near, self._clock.wall_ms())


def register(door: Door, history: History) -> None:
    """Hang the endpoints."""
    rooms = "/_matrix/client/v3/rooms/{roomId}"
    door.private("GET", f"{rooms}/messages", history.messages)
    door.private("GET", f"{rooms}/event/{{eventId}}", history.event)
    door.private("GET", f"{rooms}/context/{{eventId}}", history.context)


def _read_page_request(session: Session, request: Request) -> _Asked:
    direction = request.argument("dir")
    if direction is None:
        raise MissingParamError("dir is missing")
    if direction not in ("b", "f"):
        raise InvalidInputError("dir is b or f")
    start, end = request.argument("from"), request.argument("to")
    return _Asked(
        user=session.user,
        room=room_of(request),
        start=None if not start else order_of(start),
        end=None if not end else order_of(end),
        backwards=direction == "b",
        limit=max(int_argument(request, "limit", default=DEFAULT_PAGE_EVENTS, most=MAX_PAGE_EVENTS), 1),
        wanted=_filter(request),
    )


def _filter(request: Request) -> EventFilter:
    text = request.argument("filter")
    return EventFilter.parse(parse(text.encode("utf-8")) if text else None)


def _page(index: Index, asked: _Asked) -> Page:
    reading(index, asked.room, asked.user)
    return timeline.page(index, asked.room, asked.start, asked.end, backwards=asked.backwards, limit=asked.limit)


def _gap_at_start(index: Index, asked: _Asked) -> EventId | None:
    """Return the event before which something is missing, if the page begins right before it."""
    reading(index, asked.room, asked.user)
    if not asked.backwards or asked.start is None:
        return None
    after = timeline.page(index, asked.room, asked.start, asked.start + 1, backwards=False, limit=1)
    return after.events[0].event_id if after.events and Flags.GAP in after.events[0].flags else None


def _show(index: Index, asked: _Asked, events: Sequence[StoredEvent], now_ms: int) -> dict[str, Any]:
    visible = visibility.for_user(index, asked.user, asked.room, events)
    chunk = [event for event in (stored.client(now_ms=now_ms) for stored in visible) if asked.wanted.wants(event)]
    shown: dict[str, Any] = {"chunk": chunk}
    if asked.wanted.lazy_members:
        shown["state"] = _member_events(index, asked.room, chunk)
    return shown


def _member_events(index: Index, room: RoomId, chunk: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    senders = sorted({event["sender"] for event in chunk})
    found = state.current_events(index, room, [(MEMBER, sender) for sender in senders])
    return [client_format(event) for event in found.values()]


def _visible_event(index: Index, user: UserId, room: RoomId, event_id: EventId) -> StoredEvent:
    stored = timeline.event(index, event_id)
    if stored is None or stored.room_id != room or not visibility.for_user(index, user, room, [stored]):
        raise NotFoundError("there is no such event, or you may not see it")
    return stored


def _context(index: Index, near: _Near, now_ms: int) -> dict[str, Any]:
    _visible_event(index, near.user, near.room, near.event_id)
    stored, before, after = timeline.around(index, near.event_id, near.limit)
    if stored is None:
        raise NotFoundError("there is no such event, or you may not see it")

    def show(events: Sequence[StoredEvent]) -> list[dict[str, Any]]:
        visible = visibility.for_user(index, near.user, near.room, events)
        return [event for event in (found.client(now_ms=now_ms) for found in visible) if near.wanted.wants(event)]

    own, older, newer = stored.client(now_ms=now_ms), show(before.events), show(after.events)
    last = after.events[-1] if after.events else stored
    return {
        "event": own,
        "events_before": older,
        "events_after": newer,
        "start": before.end or before.start,
        "end": after.end or after.start,
        "state": _state_at(index, near, last.event_id, [own, *older, *newer]),
    }


def _state_at(index: Index, near: _Near, event_id: EventId, shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    senders = {event["sender"] for event in shown}
    events = []
    for (kind, key), held in state.state_after(index, event_id).items():
        if near.wanted.lazy_members and kind == MEMBER and key not in senders:
            continue
        stored = graph.event(index, held)
        if stored is not None:
            events.append(client_format(stored.event))
    return events
