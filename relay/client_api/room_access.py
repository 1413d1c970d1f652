"""Who may read a room: its members, those who were there, and anybody where it is open to the world."""

from dataclasses import dataclass

from relay.base.errors import ForbiddenError
from relay.base.ids import EventId, RoomId, UserId
from relay.core.matrix.events import Event
from relay.delivery.ledger import Index
from relay.rooms.matrix.storage import graph, members, state
from relay.rooms.matrix.storage.state import StateKey

MEMBER = "m.room.member"


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may read.

    Attributes:
        departure: the event with which they left, where the room ends for them; None for those who may read on.
    """

    room: RoomId
    departure: EventId | None

    def events(self, index: Index, keys: list[StateKey]) -> dict[StateKey, Event]:
        """Return these entries of the state they may see."""
        if self.departure is None:
            return state.current_events(index, self.room, keys)
        return _named(index, state.state_after(index, self.departure, keys))

    def whole_state(self, index: Index) -> list[Event]:
        """Return all state they may see."""
        if self.departure is None:
            return state.current_state(index, self.room)
        return list(_named(index, state.state_after(index, self.departure)).values())


def require_joined(index: Index, room: RoomId, user: UserId) -> None:
    """Let members pass.

    Raises:
        ForbiddenError: the user is not in the room, or it is not here.
    """
    if members.membership(index, room, user) != "join":
        raise ForbiddenError("you are not in this room")


def reading(index: Index, room: RoomId, user: UserId) -> Access:
    """Return what `user` may read of `room`.

    Raises:
        ForbiddenError: nothing.
    """
    membership = members.membership(index, room, user)
    if membership == "join" or (graph.room(index, room) is not None and is_world_readable(index, room)):
        return Access(room, None)
    if membership in ("leave", "ban"):
        departure = state.current_event(index, room, MEMBER, user)
        if departure is not None and _was_joined_before(index, departure):
            return Access(room, departure.event_id)
    raise ForbiddenError("you are not in this room")


def is_world_readable(index: Index, room: RoomId) -> bool:
    """Return whether the room shows its present to everybody."""
    event = state.current_event(index, room, "m.room.history_visibility")
    return event is not None and event.content.get("history_visibility") == "world_readable"


def _was_joined_before(index: Index, departure: Event) -> bool:
    key = (MEMBER, departure.key[1])
    before = _named(index, state.state_before(index, departure.event_id, [key]))
    return key in before and before[key].content.get("membership") == "join"


def _named(index: Index, ids: dict[StateKey, EventId]) -> dict[StateKey, Event]:
    found = ((key, graph.event(index, event_id)) for key, event_id in ids.items())
    return {key: stored.event for key, stored in found if stored is not None}
