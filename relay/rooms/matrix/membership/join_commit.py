"""Storing a room that was joined elsewhere: in bounded steps, invisible until the last one.

What is stored before the room has its row is invisible: every reader starts at that row, or at the membership of a
user of this box, which the last step writes too.
"""

from relay.base.ids import RoomId, ServerName
from relay.core.matrix.room_versions import RoomVersion
from relay.rooms.matrix.membership.join_answer import JoinAnswer
from relay.rooms.matrix.storage import graph, inbox_book, outliers, state_groups
from relay.rooms.matrix.storage.commit import (
    NamedState,
    advance,
    group_for,
    intern_state,
    interned_key,
    next_place,
    put_event,
    put_room,
)
from relay.rooms.matrix.storage.current_state import move_current_state
from relay.rooms.matrix.storage.state_groups import EMPTY, State
from relay.rooms.matrix.storage.stored_event import Flags
from relay.rooms.matrix.tables import (
    CLOSE_JOIN,
    DROP_ROOM_EVENTS,
    DROP_ROOM_MEMBERSHIPS,
    DROP_ROOM_SERVERS,
    DROP_ROOM_STATE,
    OPEN_JOIN,
    PLACE_EVENT,
    RAISE_FLOOR,
)
from relay.store.ledger import Change, Index, Ledger

_BATCH = 200


def begin(change: Change, room: RoomId, version: RoomVersion) -> int:
    """Note that a join is under way; return the room's number.

    From now on events that other servers push into the room wait in its inbox.
    """
    number = change.intern(room)
    change.write(OPEN_JOIN, number, version.id)
    return number


def version_of(index: Index, room: RoomId) -> str | None:
    """Return the version of a room that is being joined, None if it is not."""
    version: str | None = index.value("SELECT version FROM joins WHERE room = ?", index.find(room))
    return version


async def store_in_batches(
    ledger: Ledger, room: int, version: RoomVersion, answer: JoinAnswer, here: ServerName
) -> None:
    """Store all events as outliers; for a room that is new here, also the state of everybody else."""
    await outliers.store(ledger, room, answer.decided)
    if await ledger.read(_is_held, room):
        return
    others = [key for key in answer.state if not (key[0] == "m.room.member" and key[1].endswith(f":{here}"))]
    for start in range(0, len(others), _BATCH):
        chunk = {key: answer.state[key] for key in others[start : start + _BATCH]}
        await ledger.run(_store_state, room, version, chunk, here)


def _store_state(change: Change, room: int, version: RoomVersion, named: NamedState, here: ServerName) -> None:
    move_current_state(change, room, version.id, intern_state(change, named), here, log_all=False)


def finish(change: Change, room_id: RoomId, version: RoomVersion, answer: JoinAnswer, here: ServerName) -> None:
    """Make the room visible, joined."""
    join = answer.join
    held = graph.row(change, room_id)
    if held is None:
        creation = graph.number_of(change, answer.create.event_id)
        assert creation is not None
        held = put_room(change, room_id, version.id, creation)
        before = state_groups.child(change, EMPTY, intern_state(change, answer.state))
        _complete_state(change, held.number, version, before, here)
        held = graph.RoomRow(
            held.number, room_id, version, creation, before, (), 0, held.changed, held.state_changed, published=False
        )
    else:
        before = group_for(change, held.state, answer.state)
    place = next_place(change, held.number)
    flags = Flags.LOCAL | Flags.GAP | Flags.EDGE
    number = put_event(change, held.number, join, flags, place=place, group=before)
    after = state_groups.child(change, before, {interned_key(change, join): number})
    change.write(PLACE_EVENT, number, place, int(flags), after)
    change.write(RAISE_FLOOR, held.number, join.depth)
    advance(change, held, (number,), after, here)
    change.write(CLOSE_JOIN, held.number)
    inbox_book.wake_waiting(change, held.number)


def _complete_state(change: Change, room: int, version: RoomVersion, group: int, here: ServerName) -> None:
    stored: State = {
        (kind, key): event
        for kind, key, event in change.rows(
            "SELECT type, state_key, event FROM current_state WHERE room = ? ORDER BY type, state_key", room
        )
    }
    delta = state_groups.difference(stored, state_groups.load(change, group))
    move_current_state(change, room, version.id, delta, here, log_all=False)


def abandon(change: Change, room: int) -> None:
    """Take away what a join left behind that did not come to its end."""
    if not _is_held(change, room):
        dropped = (DROP_ROOM_EVENTS, DROP_ROOM_STATE, DROP_ROOM_MEMBERSHIPS, DROP_ROOM_SERVERS)
        for operation in dropped:
            change.write(operation, room)
        inbox_book.remove_all(change, room)
    change.write(CLOSE_JOIN, room)


async def abandon_unfinished(ledger: Ledger) -> None:
    """At a start: clean up after joins that a power cut interrupted."""
    for (room,) in await ledger.read(_open_joins):
        await ledger.run(abandon, room)


def _open_joins(index: Index) -> list[tuple[int]]:
    return [(room,) for (room,) in index.rows("SELECT room FROM joins ORDER BY room")]


def _is_held(index: Index, room: int) -> bool:
    return index.row("SELECT 1 FROM rooms WHERE number = ?", room) is not None
