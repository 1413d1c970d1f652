"""The long poll that keeps an app up to date: one answer for everything that happened since its token.

Client-server API, "Syncing". An answer is built in bounded steps against one position; what happens meanwhile is told
by the next one.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from relay.base.clock import Clock
from relay.base.ids import RoomId, UserId
from relay.base.limits import EVENTS_PER_SYNC_STEP, MAX_SYNC_TIMEOUT_S, MAX_SYNC_TO_DEVICE, ROOMS_PER_SYNC_STEP
from relay.delivery.sync.filter import SyncFilter
from relay.delivery.sync.people import device_list_changes
from relay.delivery.sync.rooms import RoomSections
from relay.delivery.sync.token import SyncToken
from relay.delivery.sync.view import View
from relay.delivery.unread import Unread
from relay.household import account_data, consent, device_keys, to_device
from relay.household.acknowledged import Acknowledged
from relay.household.sessions import Session
from relay.rooms.matrix import receipts, timeline
from relay.rooms.matrix.storage import history, members
from relay.rooms.matrix.storage.members import MembershipChange, MembershipRow
from relay.rooms.matrix.typing import Typing
from relay.store.ledger import Index, Ledger

_TypingNow = tuple[int, dict[RoomId, Collection[UserId]]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a sync.

    Attributes:
        since: the app's token, None for an initial sync.
        timeout_s: how long to wait for news.
    """

    session: Session
    since: SyncToken | None
    filters: SyncFilter
    timeout_s: float = 0.0
    full_state: bool = False
    state_after: bool = False


@dataclass(slots=True)
class _Work:
    """An answer under way: sections that are written, rooms that still have to be looked at."""

    view: View
    next_batch: SyncToken
    answer: dict[str, Any]
    todo: list["_Visit"]
    watched: tuple[RoomId, ...]
    acknowledged: bool
    """Whether messages to the device are kept that the app has: its token says so."""
    rooms: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Visit:
    """One room to look at, and why."""

    room: RoomId
    row: MembershipRow | None
    """The person's own membership where it changed or is not `join`."""
    fresh: bool = False
    check: bool = False
    gone: bool = False
    """Whether the person's membership went without a trace in the room: an invite from elsewhere, declined."""


class Sync:
    """Answers syncs."""

    def __init__(self, ledger: Ledger, typing: Typing, unread: Unread, clock: Clock) -> None:
        self._ledger = ledger
        self._typing = typing
        self._clock = clock
        self._sections = RoomSections(unread)
        self._acknowledged = Acknowledged(ledger, clock)

    async def answer(self, asked: Asked) -> dict[str, Any]:
        """Return the answer, at the latest after the time-out; with news, or without waiting, at once."""
        session, since = asked.session, asked.since
        work = await self._build(asked)
        # Where flash has failed nothing can be forgotten any more, and everybody still reads.
        if since is not None and work.acknowledged and self._ledger.healthy:
            await self._ledger.run(to_device.drop_up_to, session.user, session.device, since.to_device)
        if since is not None and since.position <= work.view.up_to:
            await self._acknowledged.note(session.user, session.device, since.position)
        if asked.since is None or asked.full_state or asked.timeout_s <= 0 or _has_news(work):
            return _finish(work)
        with self._ledger.watch() as watch:
            watched: set[Hashable] = set()
            with trio.move_on_after(min(asked.timeout_s, MAX_SYNC_TIMEOUT_S)):
                while not _has_news(work):
                    topics = _topics(work)
                    # What came before a topic was watched rang nobody, but it moved the position.
                    if topics <= watched or self._is_latest(work):
                        watch.add(*topics)
                        await watch.wait()
                    else:
                        watch.add(*topics)
                    watched |= topics
                    work = await self._build(asked)
            return _finish(work)

    def _is_latest(self, work: _Work) -> bool:
        return work.view.up_to == self._ledger.position and work.next_batch.typing == self._typing.serial

    async def device_changes(self, user: UserId, begin: str, end: str) -> dict[str, Any]:
        """Return `changed` and `left` between two sync tokens, as `GET /keys/changes` answers.

        Raises:
            InvalidInputError: this box made no such token.
        """
        after, up_to = SyncToken.parse(begin).position, SyncToken.parse(end).position
        return await self._ledger.read(_device_changes, user, after, up_to)

    async def _build(self, asked: Asked) -> _Work:
        # Who types lives in memory of this thread; steps run on another.
        token, serial = asked.since, self._typing.serial
        known = token.typing if token is not None and token.boot == self._ledger.boot else 0
        typing: dict[RoomId, Collection[UserId]] = {
            room: self._typing.users(room) for room in self._typing.changed_since(known)
        }
        work = await self._ledger.read(self._begin, asked, self._clock.wall_ms(), (serial, typing))
        while work.todo:
            await self._ledger.read(self._go_on, work)
        return work

    def _begin(self, index: Index, asked: Asked, now_ms: int, typing: _TypingNow) -> _Work:
        session, token = asked.session, asked.since
        if token is not None and token.position > index.position:
            # Only a restored backup makes such a token: what the app has seen is not here, so it starts over.
            token = None
        since = None if token is None else token.position
        global_data, room_data = account_data.since(index, session.user, since or 0)
        view = View(
            session=session,
            filters=asked.filters,
            since=since,
            up_to=index.position,
            now_ms=now_ms,
            full_state=asked.full_state,
            state_after=asked.state_after,
            ignored=consent.ignored_users(index, session.user),
            typing=typing[1],
            room_account_data=room_data,
        )
        joined = members.joined_rooms(index, session.user)
        answer: dict[str, Any] = {}
        wanted = ({"type": data_type, "content": content} for data_type, content in global_data.items())
        events = [event for event in wanted if asked.filters.account_data.wants(event)]
        if events:
            answer["account_data"] = {"events": events}
        told_to_device = self._add_device(index, view, 0 if token is None else token.to_device, answer)
        if since is None:
            todo = _first_visits(index, view)
        else:
            log = members.membership_changes_since(index, since, view.up_to)
            lists = device_list_changes(index, session.user, since, view.up_to, log)
            if lists:
                answer["device_lists"] = lists
            own = [change for change in log if change.user == session.user]
            todo = _next_visits(index, view, joined, own)
        work = _Work(
            view=view,
            next_batch=SyncToken(view.up_to, told_to_device, self._ledger.boot, typing[0]),
            answer=answer,
            todo=[visit for visit in todo if asked.filters.wants_room(visit.room)],
            watched=tuple(joined),
            acknowledged=token is not None and _holds(index, session, token.to_device),
        )
        self._go_on(index, work)
        return work

    def _add_device(self, index: Index, view: View, after: int, answer: dict[str, Any]) -> int:
        """Write what concerns the device alone; return up to where its messages are told."""
        user, device = view.session.user, view.session.device
        waiting = to_device.pending(index, user, device, after, view.up_to, MAX_SYNC_TO_DEVICE)
        if waiting:
            answer["to_device"] = {"events": [message for _, message in waiting]}
        answer["device_one_time_keys_count"] = device_keys.counts(index, user, device)
        answer["device_unused_fallback_key_types"] = device_keys.unused_fallback_types(index, user, device)
        return waiting[-1][0] if len(waiting) >= MAX_SYNC_TO_DEVICE else view.up_to

    def _go_on(self, index: Index, work: _Work) -> None:
        # Long timelines take their time: a step of the ledger has to stay short.
        many = max(1, min(ROOMS_PER_SYNC_STEP, EVENTS_PER_SYNC_STEP // max(work.view.filters.timeline.limit, 1)))
        now, work.todo = work.todo[:many], work.todo[many:]
        for visit in now:
            self._visit(index, work, visit)

    def _visit(self, index: Index, work: _Work, visit: _Visit) -> None:
        if visit.gone:
            work.rooms.setdefault("leave", {})[visit.room] = self._sections.gone(work.view)
            return
        membership = "join" if visit.row is None else visit.row.membership
        if membership == "join":
            section = self._sections.joined(index, work.view, visit.room, fresh=visit.fresh, check=visit.check)
        elif visit.row is not None and membership in ("leave", "ban"):
            section = self._sections.left(index, work.view, visit.room, visit.row, fresh=visit.fresh)
            membership = "leave"
        elif membership == "invite":
            section = self._sections.invited(index, work.view, visit.room)
        else:
            return
        if section is not None:
            work.rooms.setdefault(membership, {})[visit.room] = section


def _first_visits(index: Index, view: View) -> list[_Visit]:
    return [
        _Visit(room, row, fresh=True, check=True)
        for room, row in members.rooms_of(index, view.user).items()
        if row.membership in ("join", "invite") or view.filters.include_leave
    ]


def _next_visits(
    index: Index,
    view: View,
    joined: Collection[RoomId],
    own: Sequence[MembershipChange],
) -> list[_Visit]:
    since = view.since or 0
    was = {change.room: change.previous for change in reversed(own)}
    moved = members.rooms_changed_since(index, view.user, since)
    # An app that was away for very long: what was before is not known any more, so all of the room is told.
    forgotten = since < history.log_begins_after(index)
    visits = [
        _Visit(
            room,
            row,
            fresh=forgotten or (room in was and was[room] != "join"),
            check=forgotten or room in was,
        )
        for room, row in moved.items()
    ]
    visits += [_Visit(room, None, gone=True) for room in was if room not in moved]
    news = set(view.room_account_data) | set(view.typing)
    news |= timeline.rooms_changed_since(index, since, view.up_to) | receipts.rooms_with_news(index, since)
    todo = joined if view.full_state else [room for room in joined if room in news]
    visits += [_Visit(room, None) for room in todo if room not in moved]
    return visits


def _device_changes(index: Index, user: UserId, after: int, up_to: int) -> dict[str, Any]:
    log = members.membership_changes_since(index, after, up_to)
    return {"changed": [], "left": [], **device_list_changes(index, user, after, up_to, log)}


def _topics(work: _Work) -> set[Hashable]:
    """Return what has to ring for there to be news."""
    rooms = ((kind, room) for room in work.watched for kind in ("room", "typing"))
    return {("user", work.view.user), *rooms}


def _holds(index: Index, session: Session, position: int) -> bool:
    return bool(to_device.pending(index, session.user, session.device, 0, position, 1))


def _has_news(work: _Work) -> bool:
    return any(work.rooms.values()) or any(key in work.answer for key in ("to_device", "account_data", "device_lists"))


def _finish(work: _Work) -> dict[str, Any]:
    return {"next_batch": str(work.next_batch), **work.answer, "rooms": work.rooms}
