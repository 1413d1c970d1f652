"""Who may see which event.

Source: Matrix C-S v1.19, "Room History Visibility"; the state that counts is the one at the event.
"""

from collections.abc import Iterable, Sequence

from relay.base.ids import EventId, RoomId, ServerName, UserId
from relay.core.matrix.events import Event, redacted_event
from relay.rooms.matrix.storage import graph, members, state
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.store.ledger import Index

_VISIBILITY = ("m.room.history_visibility", "")
_WORDS = frozenset({"world_readable", "shared", "invited", "joined"})


def for_user(index: Index, user: UserId, room: RoomId, events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Return those of a room's events that the user may see, in the same order."""
    member_key = ("m.room.member", user)
    last_joined = _joined_until(index, room, user)
    seen: dict[int, tuple[str, str | None]] = {}

    def at(group: int | None) -> tuple[str, str | None]:
        if group is None:
            return "shared", None
        if group not in seen:
            held = state.events_of(index, group, (_VISIBILITY, member_key))
            seen[group] = (_word(held.get(_VISIBILITY)), _membership(held.get(member_key)))
        return seen[group]

    def may(stored: StoredEvent) -> bool:
        groups = [state.group_after_number(index, stored.number)]
        if stored.event.is_state and stored.event.key in (_VISIBILITY, member_key):
            groups.append(state.group_before(index, stored.number))
        joined_later = stored.order is not None and stored.order <= last_joined
        return any(_allows(*at(group), joined_later=joined_later) for group in groups)

    return [stored for stored in events if may(stored)]


def may_see(index: Index, user: UserId, stored: StoredEvent) -> bool:
    """Return whether the user may see one event."""
    return bool(for_user(index, user, stored.room_id, [stored]))


def for_server(index: Index, server: ServerName, room: RoomId, events: Iterable[StoredEvent]) -> list[Event]:
    """Return a room's events as a server that is in it may have them: redacted where no user of it may see them."""
    users: list[UserId] | None = None
    seen: dict[int, bool] = {}
    shown: list[Event] = []
    for stored in events:
        group = state.group_after_number(index, stored.number)
        if group is not None and group not in seen:
            word = _word(state.events_of(index, group, (_VISIBILITY,)).get(_VISIBILITY))
            if word in ("world_readable", "shared"):
                seen[group] = True
            else:
                if users is None:
                    users = [user for user, _ in members.members(index, room) if user.endswith(f":{server}")]
                held = state.events_of(index, group, [("m.room.member", user) for user in users])
                seen[group] = any(_allows(word, _membership(event), joined_later=False) for event in held.values())
        visible = stored.event.is_state or group is None or seen[group]
        shown.append(stored.event if visible else redacted_event(stored.event))
    return shown


def _allows(word: str, membership: str | None, *, joined_later: bool) -> bool:
    if word == "world_readable" or membership == "join":
        return True
    if word == "shared":
        return joined_later
    return word == "invited" and membership == "invite"


def _word(event: Event | None) -> str:
    word = None if event is None else event.content.get("history_visibility")
    return word if isinstance(word, str) and word in _WORDS else "shared"


def _membership(event: Event | None) -> str | None:
    word = None if event is None else event.content.get("membership")
    return word if isinstance(word, str) else None


def _joined_until(index: Index, room: RoomId, user: UserId) -> int:
    """The order up to which the user was in the room at some later time; below every order for one who never was."""
    never, now = -(1 << 62), 1 << 62
    row = index.row(
        "SELECT membership, event FROM memberships WHERE user = ? AND room = ?", index.find(user), index.find(room)
    )
    if row is None:
        return never
    if row[0] == 1:
        return now
    left = graph.by_number(index, row[1])
    held = state.state_before(index, EventId(left.event_id), (("m.room.member", user),))
    before = graph.event(index, held[("m.room.member", user)]) if held else None
    return (
        left.order if before is not None and _membership(before.event) == "join" and left.order is not None else never
    )
