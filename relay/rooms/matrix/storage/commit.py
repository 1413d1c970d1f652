"""Writing a decided event: its row, its state, what it changes in the room, and who must hear of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from relay.base.errors import Fault, RelayError
from relay.base.ids import EventId, RoomId, ServerName, UserId, server_of
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph, redactions, state_groups
from relay.rooms.matrix.storage.current_state import move_current_state
from relay.rooms.matrix.storage.graph import RoomRow
from relay.rooms.matrix.storage.packing import pack_event
from relay.rooms.matrix.storage.state_groups import State
from relay.rooms.matrix.storage.stored_event import POSITION_SHIFT, Flags, id_blob
from relay.rooms.matrix.tables import ADD_DEPARTURE, ADD_EVENT, ADVANCE_STATE, ADVANCE_TIPS, PLACE_EVENT, PUT_ROOM
from relay.store.ledger import Change, Index

NamedState = Mapping[tuple[str, str], EventId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything decided about one event before anything is written.

    Attributes:
        before: the state group before it; where `named` is given, ignored.
        named: the state before it, where it was merged or given and has no group yet.
        tips: the forward extremities that stay, the event itself not among them; None: the event is not put among
            the extremities at all (rejected, soft-failed, outside of the timeline).
        resolved: the current state afterwards, where several extremities had to be merged; None: the state after
            the event.
        place: where it stands in the timeline, for what is fetched later; the newest place if it is an extremity.
        depart: whether other servers must get the event from this box.
    """

    event: Event
    before: int
    named: NamedState | None = None
    flags: Flags = Flags.NONE
    tips: tuple[int, ...] | None = None
    resolved: NamedState | None = None
    place: int | None = None
    depart: bool = False


def commit(change: Change, room: RoomRow, decision: Decision, here: ServerName) -> int:
    """Write the event and what follows from it; return its row."""
    event = decision.event
    place = decision.place if decision.tips is None else next_place(change, room.number)
    before = decision.before if decision.named is None else group_for(change, room.state, decision.named)
    number = put_event(change, room.number, event, decision.flags, place=place, group=before)
    after = before
    if event.is_state and Flags.REJECTED not in decision.flags:
        after = state_groups.child(change, before, {interned_key(change, event): number})
        change.write(PLACE_EVENT, number, place, int(decision.flags), after)
    if decision.tips is not None:
        advance(change, room, (*decision.tips, number), _current_group(change, room, decision, after), here)
    if Flags.REJECTED not in decision.flags:
        redactions.settle(change, number, event)
    if decision.depart:
        depart(change, room.number, number, event, here)
    return number


def put_event(
    change: Change, room: int, event: Event, flags: Flags, *, place: int | None = None, group: int | None = None
) -> int:
    """Store an event, or what is newly known of one that is here as an outlier; return its row."""
    # Made just now, of this change's own extremities: nobody has it yet.
    number = None if flags == Flags.LOCAL else graph.number_of(change, event.event_id)
    if number is not None:
        change.write(PLACE_EVENT, number, place, int(flags), group)
        return number
    number = int(change.value("SELECT max(number) FROM events") or 0) + 1
    change.write(ADD_EVENT, number, room, place, int(flags), group, id_blob(event.event_id), pack_event(event))
    return number


def put_room(change: Change, room_id: RoomId, version: str, creation: int) -> RoomRow:
    """Store a room that has no events in its timeline yet."""
    number = change.intern(room_id)
    change.write(PUT_ROOM, number, version, creation, state_groups.EMPTY, b"", change.position, change.position, 0)
    held = graph.row_of(change, number, room_id)
    assert held is not None
    return held


def next_place(index: Index, room: int) -> int:
    """Return where the next live event of a room stands."""
    first: int = index.position << POSITION_SHIFT
    newest = index.value("SELECT max(place) FROM events WHERE room = ? AND place >= ?", room, first)
    return first if newest is None else int(newest) + 1


def interned_key(change: Change, event: Event) -> tuple[int, int]:
    """Return the numbers of a state event's type and key."""
    return change.intern(event.type), change.intern(event.key[1])


class StateGoneError(RelayError):
    """A state that another server gave names an event that went meanwhile: it is to be asked for once more."""

    code = "event.state_gone"
    fault = Fault.PEER
    retryable = True


def intern_state(change: Change, named: NamedState) -> State:
    """Return a state of names as a state of numbers.

    Raises:
        StateGoneError: an event of it is not here.
    """
    interned: State = {}
    for (kind, key), event_id in named.items():
        number = graph.number_of(change, event_id)
        if number is None:
            raise StateGoneError("a state names an event that is not here any more")
        interned[change.intern(kind), change.intern(key)] = number
    return interned


def advance(
    change: Change, room: RoomRow, tips: tuple[int, ...], group: int, here: ServerName, *, log_all: bool = True
) -> None:
    """Give a room its new extremities and its new current state."""
    if group == room.state:
        change.write(ADVANCE_TIPS, room.number, graph.pack_tips(tips), change.position)
    else:
        delta = state_groups.changes_between(change, room.state, group)
        move_current_state(change, room.number, room.version.id, delta, here, log_all=log_all)
        change.write(ADVANCE_STATE, room.number, graph.pack_tips(tips), change.position, group)
    change.wake(("room", room.room_id))


def depart(change: Change, room: int, number: int, event: Event, here: ServerName) -> None:
    """Note that other servers must get the event from here; where there are none, nothing is written."""
    own = change.intern(here)
    extra = None
    if event.type == "m.room.member" and event.content.get("membership") in ("leave", "ban"):
        extra = change.intern(server_of(UserId(event.key[1])))
    others = change.row("SELECT 1 FROM room_servers WHERE room = ? AND server <> ? LIMIT 1", room, own)
    if others is None and extra in (None, own):
        return
    change.write(ADD_DEPARTURE, number, room, extra)
    change.wake(("outbox",))


def group_for(change: Change, base: int, named: NamedState) -> int:
    """Return the group that is the state `named`: `base` itself or a child of it.

    Raises:
        StateGoneError: an event of it is not here.
    """
    delta = state_groups.difference(state_groups.load(change, base), intern_state(change, named))
    return state_groups.child(change, base, delta) if delta else base


def _current_group(change: Change, room: RoomRow, decision: Decision, after: int) -> int:
    if decision.resolved is None:
        return after
    # Nearly always the merged state is that of one branch.
    wanted = intern_state(change, decision.resolved)
    if state_groups.load(change, after) == wanted:
        return after
    return group_for(change, room.state, decision.resolved)
