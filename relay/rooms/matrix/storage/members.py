"""Who is in which room."""

from collections.abc import Iterable
from dataclasses import dataclass

from relay.base.ids import EventId, RoomId, ServerName, UserId
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.memberships import INVITE, JOIN, NUMBERS, WORDS
from relay.rooms.matrix.storage.stored_event import POSITION_SHIFT, first_place_after, id_text
from relay.rooms.matrix.tables import DROP_INVITE, FORGET_ROOM
from relay.store.ledger import Change, Index


@dataclass(frozen=True, slots=True)
class MembershipRow:
    """One user's membership of one room.

    Attributes:
        event_id: the member event; for an invite to a room that is not here, the invite.
        position: stream position of the change.
        sender: who made it so.
    """

    membership: str
    event_id: EventId
    position: int
    sender: UserId


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """One line of the membership log. `previous` is "" for a first appearance."""

    room: RoomId
    user: UserId
    membership: str
    previous: str
    position: int


def membership(index: Index, room: RoomId, user: UserId) -> str | None:
    """Return "join", "invite", "leave", "ban" or "knock", None for a user the room never saw."""
    room_number, user_number = index.find(room), index.find(user)
    if room_number is None or user_number is None:
        return None
    held = index.value("SELECT membership FROM memberships WHERE user = ? AND room = ?", user_number, room_number)
    if held not in (JOIN, INVITE) and _asked(index, user_number, room_number):
        return WORDS[INVITE]
    return None if held is None else WORDS[held]


def _asked(index: Index, user: int, room: int) -> bool:
    return index.row("SELECT 1 FROM invites WHERE user = ? AND room = ?", user, room) is not None


def rooms_of(index: Index, user: UserId, after_position: int = -1) -> dict[RoomId, MembershipRow]:
    """Return every room the user is or was in or is invited to, except what was forgotten."""
    number = index.find(user)
    if number is None:
        return {}
    rows = index.rows(
        "SELECT m.room, m.membership, m.position, m.sender, e.id FROM memberships m JOIN events e ON e.number = m.event"
        " WHERE m.user = ? AND m.forgotten = 0 AND m.position > ? ORDER BY m.room",
        number,
        after_position,
    )
    found = {
        RoomId(index.name(room)): MembershipRow(WORDS[kind], id_text(blob), position, UserId(index.name(sender)))
        for room, kind, position, sender, blob in rows
    }
    asked = index.rows("SELECT room, position, sender, pdu FROM invites WHERE user = ? ORDER BY room", number)
    for room, position, sender, _ in asked:
        room_id = RoomId(index.name(room))
        if membership(index, room_id, user) == "invite" and position > after_position:
            found[room_id] = MembershipRow("invite", EventId(""), position, UserId(index.name(sender)))
    return found


def rooms_changed_since(index: Index, user: UserId, after_position: int) -> dict[RoomId, MembershipRow]:
    """Return those rows of `rooms_of` that changed after a position, displayed names included."""
    return {room: row for room, row in rooms_of(index, user, after_position).items() if row.position > after_position}


def members(index: Index, room: RoomId, membership: str | None = None) -> list[tuple[UserId, str]]:
    """Return (user, membership) of the current members; only those with `membership` if given."""
    return [
        (UserId(index.name(user)), WORDS[kind])
        for user, kind in _rows_of_room(index, room)
        if membership is None or kind == NUMBERS[membership]
    ]


def _rows_of_room(index: Index, room: RoomId) -> list[tuple[int, int]]:
    held, kind = graph.row(index, room), index.find("m.room.member")
    if held is None or kind is None:
        return []
    return [
        (user, member)
        for user, member in index.rows(
            "SELECT state_key, membership FROM current_state WHERE room = ? AND type = ? ORDER BY state_key",
            held.number,
            kind,
        )
        if member is not None
    ]


def member_events(index: Index, room: RoomId) -> list[Event]:
    """Return the member events of the current state."""
    held, kind = graph.row(index, room), index.find("m.room.member")
    if held is None or kind is None:
        return []
    rows = index.rows("SELECT event FROM current_state WHERE room = ? AND type = ? ORDER BY event", held.number, kind)
    return graph.events_by_number(index, (number for (number,) in rows))


def joined_servers(index: Index, room: RoomId) -> set[ServerName]:
    """Return the servers that have a joined user in the room."""
    number = index.find(room)
    if number is None:
        return set()
    rows = index.rows("SELECT server FROM room_servers WHERE room = ? ORDER BY server", number)
    return {ServerName(index.name(server)) for (server,) in rows}


def all_joined_servers(index: Index) -> set[ServerName]:
    """Return every server that shares a room with this box (itself included)."""
    rows = index.rows("SELECT DISTINCT server FROM room_servers ORDER BY server")
    return {ServerName(index.name(server)) for (server,) in rows}


def server_joined(index: Index, room: RoomId, server: ServerName) -> bool:
    """Return whether the server has a joined user in the room."""
    room_number, server_number = index.find(room), index.find(server)
    if room_number is None or server_number is None:
        return False
    return index.row("SELECT 1 FROM room_servers WHERE room = ? AND server = ?", room_number, server_number) is not None


def shares_room_with_server(index: Index, server: ServerName) -> bool:
    """Return whether the server has a joined user in any room of this box."""
    return index.row("SELECT 1 FROM room_servers WHERE server = ? LIMIT 1", index.find(server)) is not None


def joined_rooms(index: Index, user: UserId) -> list[RoomId]:
    """Return the rooms the user is joined to."""
    number = index.find(user)
    if number is None:
        return []
    rows = index.rows("SELECT room FROM memberships WHERE user = ? AND membership = ? ORDER BY room", number, JOIN)
    return [RoomId(index.name(room)) for (room,) in rows]


def users_sharing_room(index: Index, user: UserId) -> set[UserId]:
    """Return every user joined to a room that `user` is joined to; `user` too if there is such a room."""
    number = index.find(user)
    rows = index.rows(
        "SELECT DISTINCT c.state_key FROM memberships m JOIN current_state c ON c.room = m.room AND c.type = ?"
        " WHERE m.user = ? AND m.membership = ? AND c.membership = ? ORDER BY c.state_key",
        index.find("m.room.member"),
        number,
        JOIN,
        JOIN,
    )
    return {UserId(index.name(other)) for (other,) in rows}


def together_since(index: Index, user: UserId, others: Iterable[UserId]) -> int | None:
    """Return a change since which `user` has been in a room with one of `others` all the time; None: they are in none.

    It may be later than the true beginning, never earlier: a new display name counts as a new beginning.
    """
    number = index.find(user)
    found = [
        index.value(
            "SELECT MIN(MAX(a.position, b.position)) FROM memberships a"
            " JOIN memberships b ON b.user = ? AND b.room = a.room AND b.membership = ?"
            " WHERE a.user = ? AND a.membership = ?",
            index.find(other),
            JOIN,
            number,
            JOIN,
        )
        for other in others
    ]
    return min((since for since in found if since is not None), default=None)


def share_room(index: Index, one: UserId, other: UserId) -> bool:
    """Return whether both are joined to some room."""
    first, second = index.find(one), index.find(other)
    if first is None or second is None:
        return False
    return (
        index.row(
            "SELECT 1 FROM memberships a JOIN memberships b ON b.user = ? AND b.room = a.room AND b.membership = ?"
            " WHERE a.user = ? AND a.membership = ? LIMIT 1",
            second,
            JOIN,
            first,
            JOIN,
        )
        is not None
    )


def heroes(index: Index, room: RoomId, except_user: UserId, limit: int = 5) -> list[UserId]:
    """Return up to `limit` users a nameless room is called after.

    The joined and invited ones except the asker, oldest first; if there are none, those who left or were banned.
    Source: Matrix C-S v1.19, "Calculating the display name for a room" (room summary of /sync).
    """
    held, kind = graph.row(index, room), index.find("m.room.member")
    if held is None or kind is None:
        return []
    rows = index.rows(
        "SELECT state_key, membership FROM current_state WHERE room = ? AND type = ? ORDER BY event", held.number, kind
    )
    others = [(UserId(index.name(user)), member) for user, member in rows]
    there = [user for user, member in others if member in (JOIN, INVITE) and user != except_user]
    gone = [user for user, member in others if member not in (None, JOIN, INVITE) and user != except_user]
    return (there or gone)[:limit]


def counts(index: Index, room: RoomId) -> tuple[int, int]:
    """Return how many users are (joined, invited)."""
    held, kind = graph.row(index, room), index.find("m.room.member")
    if held is None or kind is None:
        return 0, 0
    rows = index.rows(
        "SELECT membership, count(*) FROM current_state WHERE room = ? AND type = ? GROUP BY membership",
        held.number,
        kind,
    )
    by_kind = dict(rows)
    return by_kind.get(JOIN, 0), by_kind.get(INVITE, 0)


def membership_changes_since(
    index: Index, after_position: int, up_to_position: int | None = None
) -> list[MembershipChange]:
    """Return what the membership log has after a position.

    When this box joins a room, only its own user's join is logged: who else is there is `members`.
    """
    end = first_place_after(index.position if up_to_position is None else up_to_position)
    rows = index.rows(
        "SELECT number, room, user, membership, previous FROM membership_log WHERE number >= ? AND number < ?"
        " ORDER BY number",
        first_place_after(after_position),
        end,
    )
    return [
        MembershipChange(
            RoomId(index.name(room)),
            UserId(index.name(user)),
            WORDS[kind],
            WORDS.get(previous, ""),
            number >> POSITION_SHIFT,
        )
        for number, room, user, kind, previous in rows
    ]


def forget(change: Change, user: UserId, room: RoomId) -> bool:
    """Take a room that was left out of the user's lists; False if the user is still in it."""
    user_number, room_number = change.find(user), change.find(room)
    if user_number is None or room_number is None:
        return True
    held = change.value("SELECT membership FROM memberships WHERE user = ? AND room = ?", user_number, room_number)
    if held in (JOIN, INVITE) or _asked(change, user_number, room_number):
        return False
    if held is not None:
        change.write(FORGET_ROOM, user_number, room_number)
    change.write(DROP_INVITE, user_number, room_number)
    return True


def stake(index: Index, room: RoomId, user: UserId) -> tuple[str, int] | None:
    """Return (membership, position of its change) of a user in a room, None if it never was there or forgot it."""
    row = index.row(
        "SELECT membership, position FROM memberships WHERE user = ? AND room = ? AND forgotten = 0",
        index.find(user),
        index.find(room),
    )
    return None if row is None else (WORDS[row[0]], row[1])
