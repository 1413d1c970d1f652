"""Events that relate to another: edits, reactions, replies in a thread, and the threads of a room.

Client-server API, "Relationships API" and "Threading". Found by reading the timeline after the event, a bounded piece
at a time: an index of relations would cost flash with every message, and few are ever asked for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from relay.base.clock import Clock
from relay.base.errors import InvalidInputError, NotFoundError
from relay.base.ids import EventId, RoomId, UserId
from relay.base.limits import MAX_PAGE_EVENTS, MAX_RELATION_SCANS
from relay.client_api.door import Door, Reply
from relay.client_api.fields import event_of, int_argument, room_of
from relay.client_api.room_access import reading
from relay.client_api.tokens import order_of
from relay.delivery.ledger import Index, Ledger
from relay.household.sessions import Session
from relay.rooms.matrix import timeline, visibility
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.transport.message import Request

DEFAULT_RELATIONS = 5
THREAD = "m.thread"


@dataclass(frozen=True, slots=True)
class _Asked:
    user: UserId
    room: RoomId
    start: int | None
    end: int | None
    backwards: bool
    limit: int
    matches: Callable[[StoredEvent], bool]


class Relations:
    """The endpoints."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def of_event(self, session: Session, request: Request) -> Reply:
        """`GET /v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`, the last two optional."""
        target, wanted = event_of(request), (request.params.get("relType"), request.params.get("eventType"))
        direction = request.argument("dir") or "b"
        if direction not in ("b", "f"):
            raise InvalidInputError("dir is b or f")
        start, end = request.argument("from"), request.argument("to")
        asked = _Asked(
            user=session.user,
            room=room_of(request),
            start=order_of(start) if start else None,
            end=order_of(end) if end else None,
            backwards=direction == "b",
            limit=max(int_argument(request, "limit", default=DEFAULT_RELATIONS, most=MAX_PAGE_EVENTS), 1),
            matches=lambda stored: _relates(stored, target, *wanted),
        )
        asked = await self._ledger.read(_after_target, asked, target)
        found, token = await self._scan(asked)
        shown: dict[str, Any] = {"chunk": [stored.client(now_ms=self._clock.wall_ms()) for stored in found]}
        if token is not None:
            shown["next_batch"] = token
        if start:
            shown["prev_batch"] = start
        return shown

    async def threads(self, session: Session, request: Request) -> Reply:
        """`GET /v1/rooms/{roomId}/threads`: roots, the one with the newest reply first."""
        include = request.argument("include") or "all"
        start = request.argument("from")
        asked = _Asked(
            user=session.user,
            room=room_of(request),
            start=order_of(start) if start else None,
            end=None,
            backwards=True,
            limit=MAX_PAGE_EVENTS,
            matches=lambda stored: _relation(stored).get("rel_type") == THREAD,
        )
        replies, token = await self._scan(asked)
        roots = await self._ledger.read(_roots, asked, replies, self._clock.wall_ms())
        if include == "participated":
            roots = [root for root in roots if _thread_summary(root)["current_user_participated"]]
        # Not cut to `limit`: a page ends where the reading did, so that the next one goes on from there.
        shown: dict[str, Any] = {"chunk": roots}
        if token is not None:
            shown["next_batch"] = token
        return shown

    async def _scan(self, asked: _Asked) -> tuple[list[StoredEvent], str | None]:
        """Return matching events and the token to go on from, None at the end; at most so many pages are read."""
        found: list[StoredEvent] = []
        for _ in range(MAX_RELATION_SCANS):
            events, token = await self._ledger.read(_matching, asked)
            found += events
            if len(found) > asked.limit:
                last = found[asked.limit - 1].order or 0
                return found[: asked.limit], timeline.token(last if asked.backwards else last + 1)
            if token is None:
                return found, None
            asked = replace(asked, start=timeline.parse_token(token))
        return found, None if asked.start is None else timeline.token(asked.start)


def register(door: Door, relations: Relations) -> None:
    """Hang the endpoints."""
    rooms = "/_matrix/client/v1/rooms/{roomId}"
    door.private("GET", f"{rooms}/relations/{{eventId}}", relations.of_event)
    door.private("GET", f"{rooms}/relations/{{eventId}}/{{relType}}", relations.of_event)
    door.private("GET", f"{rooms}/relations/{{eventId}}/{{relType}}/{{eventType}}", relations.of_event)
    door.private("GET", f"{rooms}/threads", relations.threads)


def _relation(stored: StoredEvent) -> dict[str, Any]:
    relation = stored.event.content.get("m.relates_to")
    return relation if isinstance(relation, dict) else {}


def _relates(stored: StoredEvent, target: EventId, rel_type: str | None, event_type: str | None) -> bool:
    relation = _relation(stored)
    return (
        relation.get("event_id") == target
        and (rel_type is None or relation.get("rel_type") == rel_type)
        and (event_type is None or stored.event.type == event_type)
    )


def _after_target(index: Index, asked: _Asked, target: EventId) -> _Asked:
    """Return `asked` bounded to what came after its target.

    Raises:
        NotFoundError: there is no such event, or the user may not see it.
    """
    reading(index, asked.room, asked.user)
    stored = timeline.event(index, target)
    if stored is None or stored.room_id != asked.room or not visibility.may_see(index, asked.user, stored):
        raise NotFoundError("there is no such event, or you may not see it")
    after = (stored.order or 0) + 1
    if asked.backwards:
        return replace(asked, end=max(asked.end or after, after))
    return replace(asked, start=max(asked.start or after, after))


def _matching(index: Index, asked: _Asked) -> tuple[list[StoredEvent], str | None]:
    reading(index, asked.room, asked.user)
    page = timeline.page(index, asked.room, asked.start, asked.end, backwards=asked.backwards, limit=MAX_PAGE_EVENTS)
    matching = [stored for stored in page.events if asked.matches(stored)]
    return visibility.for_user(index, asked.user, asked.room, matching), page.end


def _roots(index: Index, asked: _Asked, replies: Iterable[StoredEvent], now_ms: int) -> list[dict[str, Any]]:
    threads: dict[str, list[StoredEvent]] = {}
    for reply in replies:
        root = _relation(reply).get("event_id")
        if isinstance(root, str):
            threads.setdefault(root, []).append(reply)
    shown = []
    for root, members in threads.items():
        stored = timeline.event(index, EventId(root)) if len(root) == 44 and root[0] == "$" else None
        if stored is None or stored.room_id != asked.room or not visibility.may_see(index, asked.user, stored):
            continue
        event = stored.client(now_ms=now_ms)
        senders = {stored.event.sender, *(member.event.sender for member in members)}
        summary = {
            "latest_event": members[0].client(now_ms=now_ms),
            "count": len(members),
            "current_user_participated": asked.user in senders,
        }
        event.setdefault("unsigned", {})["m.relations"] = {THREAD: summary}
        shown.append(event)
    return shown


def _thread_summary(root: dict[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = root["unsigned"]["m.relations"][THREAD]
    return summary
