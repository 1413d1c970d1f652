"""Deciding about one event: its ancestors, its authorization against three states, its effect on the extremities.

Everything here happens inside one step and reads only. Merging states takes long and is done outside; `decide` says
which merge it needs and is asked again with the result. A merge is named by the events whose states it merges: the
state after an event never changes, so neither does the result, and nothing has to be checked for staleness.

Source: Matrix S2S v1.19, "Checks performed on receipt of a PDU", "Rejection", "Soft failure".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from relay.base.errors import ForbiddenError, InvalidInputError
from relay.base.ids import EventId
from relay.core.matrix.authorization import auth_types, authorize, check_auth_events
from relay.core.matrix.events import CREATE, Event
from relay.core.matrix.power_levels import CREATE_KEY
from relay.rooms.matrix.storage import graph, history, state, state_groups
from relay.rooms.matrix.storage.commit import Decision, NamedState
from relay.rooms.matrix.storage.graph import RoomRow
from relay.rooms.matrix.storage.stored_event import Flags
from relay.store.ledger import Index

Merge = frozenset[EventId]
"""Events whose states after them are to be merged."""

Merges = Mapping[Merge, NamedState]


@dataclass(frozen=True, slots=True)
class Known:
    """The event is already in the room's graph."""

    number: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Events that must be here first. `prev_events` are those whose state is not known, outliers included."""

    prev_events: tuple[EventId, ...]
    auth_events: tuple[EventId, ...]


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A merge that `decide` must be given."""

    merge: Merge


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an event comes in.

    Attributes:
        given: the state before it as another server gave it, where its ancestors are not to be had.
        place: of an event that belongs to the past: its place in the timeline. It is not put among the extremities,
            nor judged by the current state.
        depart: whether other servers must get the event from here.
    """

    given: NamedState | None = None
    place: int | None = None
    depart: bool = False


PUSHED = Manner()
"""A new event, all of whose ancestors are here or to be had."""


@dataclass(frozen=True, slots=True)
class _Before:
    """The state before an event: a stored group, or a merged or given state that has none yet."""

    group: int | None
    named: NamedState | None = None


def decide(
    index: Index, room: RoomRow, event: Event, merges: Merges, manner: Manner = PUSHED
) -> Decision | Known | Missing | Unmerged:
    """Return what to do with an event whose form, hash and signatures are good.

    Args:
        index: the snapshot.
        room: the room, as it is in the snapshot.
        event: the event; in its redacted form if its content hash was wrong.
        merges: the merges made so far.
        manner: how it comes in.
    """
    known = graph.known(index, event.event_id)
    if known is not None and Flags.OUTLIER not in known.flags:
        return Known(known.number)
    prevs, missing = _ancestors(index, event)
    cited = {cited: graph.event(index, cited) for cited in event.auth_events}
    unknown_auth = tuple(event_id for event_id, stored in cited.items() if stored is None)
    if unknown_auth or (missing and manner.given is None):
        return Missing(() if manner.given is not None else missing, unknown_auth)
    before = _Before(None, manner.given) if manner.given is not None else _state_before(prevs, merges)
    if isinstance(before, Unmerged):
        return before
    base = Flags.GAP if missing and _opens_gap(index, room, event, manner) else Flags.NONE
    cited_events = [stored.event for stored in cited.values() if stored is not None]
    refused = _refusal(index, room, event, before, cited=cited_events, past=manner.place is not None)
    if refused or manner.place is not None:
        place = None if refused else manner.place
        return Decision(event=event, before=before.group or 0, named=before.named, flags=base | refused, place=place)
    tips = _remaining_tips(index, room, prevs)
    resolved = _current_after(index, event, before, tips, merges)
    if isinstance(resolved, Unmerged):
        return resolved
    return Decision(
        event=event,
        before=before.group or 0,
        named=before.named,
        flags=base,
        tips=tips,
        resolved=resolved,
        depart=manner.depart,
    )


def _opens_gap(index: Index, room: RoomRow, event: Event, manner: Manner) -> bool:
    # What is missing below the floor of a join is missing already; the event adds no gap of its own. Where the past
    # was let go it may point to what never was here.
    above = event.depth > room.floor or manner.place is not None
    return above or history.horizon_of(index, room.number) > 0


def _refusal(index: Index, room: RoomRow, event: Event, before: _Before, *, cited: list[Event], past: bool) -> Flags:
    if not _is_authorized(index, room, event, before, cited):
        return Flags.REJECTED
    if past or before.group == room.state:
        return Flags.NONE
    held = state.current_events(index, room.room_id, _keys(event))
    return Flags.NONE if _passes(event, held) else Flags.SOFT_FAILED


def state_before(index: Index, event: Event, merges: Merges, *, given: NamedState | None = None) -> NamedState:
    """Return the whole state before an event that `decide` could decide about, `given` if it was given one."""
    if given is not None:
        return given
    prevs, _ = _ancestors(index, event)
    before = _state_before(prevs, merges)
    assert isinstance(before, _Before)
    if before.named is not None:
        return before.named
    return state.name_state(index, state_groups.load(index, before.group or 0))


def _ancestors(index: Index, event: Event) -> tuple[dict[EventId, graph.Known], tuple[EventId, ...]]:
    found, missing = dict[EventId, graph.Known](), list[EventId]()
    for prev in event.prev_events:
        known = graph.known(index, prev)
        if known is None or known.state is None:
            missing.append(prev)
        else:
            found[prev] = known
    return found, tuple(missing)


def _state_before(prevs: Mapping[EventId, graph.Known], merges: Merges) -> _Before | Unmerged:
    groups: dict[int, EventId] = {}
    for event_id in sorted(prevs):
        groups.setdefault(prevs[event_id].state or state_groups.EMPTY, event_id)
    if len(groups) < 2:
        return _Before(next(iter(groups), state_groups.EMPTY))
    merge = frozenset(groups.values())
    named = merges.get(merge)
    return Unmerged(merge) if named is None else _Before(None, named)


def _keys(event: Event) -> set[tuple[str, str]]:
    return {*auth_types(event, event.version), CREATE_KEY}


def _is_authorized(index: Index, room: RoomRow, event: Event, before: _Before, cited: list[Event]) -> bool:
    if event.type == CREATE:
        # A room has one create event, which is there before any other.
        return graph.number_of(index, event.event_id) == room.creation
    try:
        check_auth_events(event, cited)
    except (ForbiddenError, InvalidInputError):
        return False
    held = {entry.key: entry for entry in cited if entry.is_state}
    held[CREATE_KEY] = graph.by_number(index, room.creation, room.version.id).event
    if not _passes(event, held):
        return False
    keys = _keys(event)
    if before.named is not None:
        found = {key: graph.event(index, before.named[key]) for key in keys if key in before.named}
        return _passes(event, {key: stored.event for key, stored in found.items() if stored is not None})
    if before.group == room.state:
        return _passes(event, state.current_events(index, room.room_id, keys))
    return _passes(event, state.events_of(index, before.group or 0, keys))


def _passes(event: Event, held: Mapping[tuple[str, str], Event]) -> bool:
    try:
        authorize(event, held)
    except (ForbiddenError, InvalidInputError):
        return False
    return True


def _remaining_tips(index: Index, room: RoomRow, prevs: Mapping[EventId, graph.Known]) -> tuple[int, ...]:
    """The extremities that the event does not reach, also not through rejected and soft-failed events."""
    reached, waiting = set[int](), list(prevs.values())
    while waiting:
        known = waiting.pop()
        if known.number in reached:
            continue
        reached.add(known.number)
        if known.flags & (Flags.REJECTED | Flags.SOFT_FAILED):
            waiting += _ancestors(index, graph.by_number(index, known.number).event)[0].values()
    return tuple(tip for tip in room.tips if tip not in reached)


def _current_after(
    index: Index, event: Event, before: _Before, tips: tuple[int, ...], merges: Merges
) -> NamedState | Unmerged | None:
    groups: dict[int, EventId] = {}
    for tip in tips:
        groups.setdefault(state.group_after_number(index, tip) or 0, graph.id_of(index, tip))
    if not groups or (not event.is_state and before.group is not None and set(groups) == {before.group}):
        return None
    if not event.is_state and before.group is not None:
        groups.pop(before.group, None)
    merge = frozenset({*groups.values(), event.event_id})
    return merges.get(merge, Unmerged(merge))
