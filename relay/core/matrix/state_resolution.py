"""The state of a room after a fork: state resolution v2 and v2.1.

Source: Matrix specification v1.19, room version 2 (v2) and room version 12 (v2.1), "State resolution". Where deployed
servers read the text in one of two ways, theirs is taken and said so: servers that resolve differently split the room.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from relay.base.ids import EventId
from relay.core.matrix.auth_graph import AuthGraph, EventSource
from relay.core.matrix.authorization import NotAllowedError, auth_types, authorize
from relay.core.matrix.events import Event, StateKey
from relay.core.matrix.power_levels import CREATE_KEY, POWER_LEVELS_KEY, PowerLevels
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.rule_parts import JOIN_RULES_KEY, MEMBER

__all__ = ["EventSource", "resolve"]

StateIds = Mapping[StateKey, EventId]

_POWER_KEYS = frozenset({POWER_LEVELS_KEY, JOIN_RULES_KEY, CREATE_KEY})


def resolve(version: RoomVersion, state_sets: Sequence[StateIds], events: EventSource) -> dict[StateKey, EventId]:
    """Return the one state that follows from several.

    Args:
        version: the rules of the room.
        state_sets: the states after each of the forward extremities.
        events: returns those of the asked events that are known here; it is asked for auth chains in batches. It must
            not hold back what is known: the settled state, too, decides what the auth difference is.
    """
    settled, disputed = _separate(state_sets)
    if not disputed:
        return settled
    graph = AuthGraph(events)
    full = _full_conflicted_set(version, state_sets, settled, disputed, graph)
    first = _power_order(graph, full)
    resolved = {} if version.resolves_from_empty else dict(settled)
    _apply(version, first, resolved, graph)
    rest = _mainline_order(graph, full.difference(first), resolved.get(POWER_LEVELS_KEY))
    _apply(version, rest, resolved, graph)
    resolved.update(settled)
    return resolved


def _separate(state_sets: Sequence[StateIds]) -> tuple[dict[StateKey, EventId], set[EventId]]:
    """Return (unconflicted state map, conflicted state set); a key that one set lacks is conflicted."""
    if not state_sets:
        return {}, set()
    common = set(state_sets[0].items()).intersection(*(state.items() for state in state_sets[1:]))
    disputed = {event_id for state in state_sets for _, event_id in state.items() - common}
    return dict(common), disputed


def _full_conflicted_set(
    version: RoomVersion,
    state_sets: Sequence[StateIds],
    settled: StateIds,
    disputed: set[EventId],
    graph: AuthGraph,
) -> set[EventId]:
    """Return the conflicted set, the auth difference, and for v2.1 the conflicted subgraph.

    As deployed servers do, a state event counts as part of its own auth chain.
    """
    chains = [graph.closure(disputed.intersection(state.values())) for state in state_sets]
    reached = set().union(*chains)
    difference = reached - chains[0].intersection(*chains[1:]) - disputed
    # What the settled state rests on is in the chain of every set. It is mostly found right behind its successor;
    # only what is not makes the whole settled state be read.
    successors = {settled[event.key] for event in graph.known(difference) if event.is_state and event.key in settled}
    difference -= graph.closure_within(successors, difference)
    difference -= graph.closure_within(settled.values(), difference)
    full = disputed | difference
    if version.resolves_from_empty:
        full |= graph.between(disputed, reached)
    return {event_id for event_id in full if event_id in graph}


def _is_power_event(event: Event) -> bool:
    """Creation counts too, as on deployed servers; it can only be disputed where somebody lies."""
    if event.state_key is None:
        return False
    if event.type == MEMBER:
        return event.content.get("membership") in ("leave", "ban") and event.sender != event.state_key
    return event.key in _POWER_KEYS


def _power_order(graph: AuthGraph, full: set[EventId]) -> list[EventId]:
    """Return the power events and what authorizes them, in reverse topological power ordering.

    As on deployed servers, an auth chain is followed only as long as it stays inside the full conflicted set.
    """
    parents: dict[EventId, set[EventId]] = {}
    waiting = [event_id for event_id in full if _is_power_event(graph[event_id])]
    while waiting:
        event_id = waiting.pop()
        if event_id not in parents:
            parents[event_id] = full.intersection(graph[event_id].all_auth_events)
            waiting.extend(parents[event_id])
    children: dict[EventId, list[EventId]] = {event_id: [] for event_id in parents}
    for event_id, above in parents.items():
        for parent in above:
            children[parent].append(event_id)

    def rank(event_id: EventId) -> tuple[int, int, EventId]:
        return (-_sender_level(graph, event_id), graph[event_id].origin_server_ts, event_id)

    ready = [rank(event_id) for event_id, above in parents.items() if not above]
    heapq.heapify(ready)
    ordered = []
    while ready:
        event_id = heapq.heappop(ready)[2]
        ordered.append(event_id)
        for child in children[event_id]:
            parents[child].discard(event_id)
            if not parents[child]:
                heapq.heappush(ready, rank(child))
    return ordered


def _sender_level(graph: AuthGraph, event_id: EventId) -> int:
    """Return the power level of an event's sender, going by the event's own auth events."""
    event = graph[event_id]
    cited = {parent.key: parent for parent in graph.known(event.all_auth_events) if parent.is_state}
    return PowerLevels.of(cited, event.version).level_of(event.sender)


def _mainline_order(graph: AuthGraph, event_ids: Iterable[EventId], levels: EventId | None) -> list[EventId]:
    """Return events in mainline ordering based on the power levels event `levels`."""
    mainline: list[EventId] = []
    while levels is not None:
        mainline.append(levels)
        levels = _cited_levels(graph, levels)
    # The oldest has position 1; what rests on no mainline event comes before all others.
    position: dict[EventId, int] = {event_id: place for place, event_id in enumerate(reversed(mainline), 1)}

    def place_of(event_id: EventId) -> int:
        walked = []
        at: EventId | None = event_id
        while at is not None and at not in position:
            walked.append(at)
            at = _cited_levels(graph, at)
        place = 0 if at is None else position[at]
        # Only power levels events are passed again by others; remembering all costs no more.
        position.update(dict.fromkeys(walked, place))
        return place

    return sorted(event_ids, key=lambda event_id: (place_of(event_id), graph[event_id].origin_server_ts, event_id))


def _cited_levels(graph: AuthGraph, event_id: EventId) -> EventId | None:
    for event in graph.known([event_id]):
        for parent in graph.known(event.auth_events):
            if parent.is_state and parent.key == POWER_LEVELS_KEY:
                return parent.event_id
    return None


def _apply(
    version: RoomVersion, ordered: Iterable[EventId], resolved: dict[StateKey, EventId], graph: AuthGraph
) -> None:
    """Run the iterative auth checks, changing `resolved`.

    An event that this box rejected before is not admitted, as on deployed servers.
    """
    for event_id in ordered:
        event = graph[event_id]
        if event.rejected or not event.is_state:
            continue
        state = {
            cited.key: cited for cited in graph.known(event.all_auth_events) if cited.is_state and not cited.rejected
        }
        needed = auth_types(event, version) | {CREATE_KEY}
        state.update((now.key, now) for now in graph.known([resolved[key] for key in needed if key in resolved]))
        state = {key: cited for key, cited in state.items() if not cited.rejected}
        try:
            authorize(event, state)
        except NotAllowedError:
            continue
        resolved[event.key] = event_id
