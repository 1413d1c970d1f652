"""How many messages of a room would have notified a person since they last read it.

Client-server API, "Receiving notifications" and "Threaded read receipts". Counted when asked and carried on in memory
from there: a row for every message and reader would cost more flash than the messages.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.base.ids import RoomId, UserId
from relay.base.limits import MAX_UNREAD_COUNTERS, MAX_UNREAD_EVENTS
from relay.core.matrix.power_levels import CREATE_KEY, POWER_LEVELS_KEY, PowerLevels
from relay.delivery.push_evaluation import PushRules, RoomFacts, Verdict
from relay.household import push_rules
from relay.rooms.matrix import receipts, timeline
from relay.rooms.matrix.storage import graph, history, members, state
from relay.rooms.matrix.storage.stored_event import StoredEvent, first_place_after
from relay.store.ledger import Index

MAIN = "main"
UNTHREADED = ""
DEFAULT_NOTIFICATION_LEVEL = 50


@dataclass(slots=True)
class Counts:
    """Notifications and highlights, by thread (`main` is the room outside of threads)."""

    notify: dict[str, int] = field(default_factory=dict)
    highlight: dict[str, int] = field(default_factory=dict)

    def total(self) -> dict[str, int]:
        """Return `unread_notifications` over all threads."""
        return _shape(sum(self.notify.values()), sum(self.highlight.values()))

    def main(self) -> dict[str, int]:
        """Return `unread_notifications` without the threads."""
        return _shape(self.notify.get(MAIN, 0), self.highlight.get(MAIN, 0))

    def threads(self) -> dict[str, dict[str, int]]:
        """Return `unread_thread_notifications`."""
        return {root: _shape(count, self.highlight.get(root, 0)) for root, count in self.notify.items() if root != MAIN}

    def add(self, thread: str, verdict: Verdict) -> None:
        """Count one event."""
        if verdict.notify:
            self.notify[thread] = self.notify.get(thread, 0) + 1
        if verdict.highlight:
            self.highlight[thread] = self.highlight.get(thread, 0) + 1


@dataclass(slots=True)
class _Counter:
    read: Mapping[str, int]
    rules_position: int
    start: int
    order: int
    """Up to here everything is counted."""
    counts: Counts


class Unread:
    """Counts for everybody, a bounded number of them remembered."""

    def __init__(self) -> None:
        self._counters: OrderedDict[tuple[UserId, RoomId], _Counter] = OrderedDict()
        self._rules: dict[UserId, tuple[int, PushRules]] = {}

    def counts(self, index: Index, user: UserId, room: RoomId) -> Counts:
        """Return the counts of `user` in `room`, in which they are."""
        read = receipts.own_orders(index, room, user)
        rules_position = push_rules.changed_at(index, user)
        counter = self._counters.pop((user, room), None)
        if counter is None or counter.read != read or counter.rules_position != rules_position:
            start = _start(index, user, room, read)
            counter = _Counter(read, rules_position, start, start, Counts())
        self._counters[user, room] = counter
        if len(self._counters) > MAX_UNREAD_COUNTERS:
            self._counters.popitem(last=False)
        self._count(index, user, room, counter)
        return counter.counts

    def _count(self, index: Index, user: UserId, room: RoomId, counter: _Counter) -> None:
        fresh = timeline.events_after(index, room, counter.order, MAX_UNREAD_EVENTS)
        if not fresh:
            return
        rules = self._rules_of(index, user, counter.rules_position)
        facts = _facts(index, user, room)
        for stored in fresh:
            assert stored.order is not None
            counter.order = stored.order
            thread = _thread_of(stored.event.content)
            if stored.event.sender == user:
                # Who writes has read: apps show it so as well.
                counter.counts.notify.pop(thread, None)
                counter.counts.highlight.pop(thread, None)
            elif stored.order > counter.read.get(thread, counter.start) and stored.redacted_because is None:
                counter.counts.add(thread, rules.verdict(_view(stored), facts))

    def _rules_of(self, index: Index, user: UserId, position: int) -> PushRules:
        held = self._rules.get(user)
        if held is None or held[0] != position:
            if len(self._rules) > MAX_UNREAD_COUNTERS:
                self._rules.clear()
            held = self._rules[user] = (position, PushRules(push_rules.ruleset(index, user)))
        return held[1]


def _shape(notify: int, highlight: int) -> dict[str, int]:
    return {"notification_count": notify, "highlight_count": highlight}


def _start(index: Index, user: UserId, room: RoomId, read: Mapping[str, int]) -> int:
    """Return the order after which counting starts: the unthreaded receipt, else the person's own membership."""
    if UNTHREADED in read:
        return read[UNTHREADED]
    joined = state.current_event(index, room, "m.room.member", user)
    stored = None if joined is None else graph.event(index, joined.event_id)
    if stored is not None and stored.order is not None:
        return stored.order
    horizon = history.horizon(index, room)
    return horizon - 1 if horizon > 0 else first_place_after(index.position)


def _facts(index: Index, user: UserId, room: RoomId) -> RoomFacts:
    joined, _ = members.counts(index, room)
    own = state.current_event(index, room, "m.room.member", user)
    name = None if own is None else own.content.get("displayname")

    def may_notify(sender: str, key: str) -> bool:
        held = state.current_events(index, room, (CREATE_KEY, POWER_LEVELS_KEY))
        info = graph.room(index, room)
        if info is None:
            return False
        levels = PowerLevels.of(held, info.version)
        needed = (levels.content or {}).get("notifications")
        level = needed.get(key) if isinstance(needed, Mapping) else None
        return levels.level_of(sender) >= (level if type(level) is int else DEFAULT_NOTIFICATION_LEVEL)

    return RoomFacts(joined, name if isinstance(name, str) else None, may_notify)


def _view(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    view = {"type": event.type, "sender": event.sender, "room_id": event.room_id, "content": event.content}
    if event.state_key is not None:
        view["state_key"] = event.state_key
    return view


def _thread_of(content: Mapping[str, Any]) -> str:
    relation = content.get("m.relates_to")
    if isinstance(relation, Mapping) and relation.get("rel_type") == "m.thread":
        root = relation.get("event_id")
        if isinstance(root, str):
            return root
    return MAIN
