"""Moving a room's current state, and with it memberships, servers in the room and the membership log."""

from collections import Counter

from relay.base.ids import ServerName, UserId, server_of
from relay.core.matrix.events import Event
from relay.rooms.matrix.storage import graph
from relay.rooms.matrix.storage.memberships import JOIN, LEAVE, NUMBERS
from relay.rooms.matrix.storage.state_groups import State
from relay.rooms.matrix.storage.stored_event import POSITION_SHIFT
from relay.rooms.matrix.tables import (
    DROP_CURRENT,
    DROP_INVITE,
    DROP_MEMBERSHIP,
    DROP_ROOM_SERVER,
    LOG_MEMBERSHIP,
    MEMBERSHIPS,
    PUT_CURRENT,
    PUT_MEMBERSHIP,
    PUT_ROOM_SERVER,
)
from relay.store.ledger import Change


def move_current_state(
    change: Change, room: int, version: str, delta: State, here: ServerName, *, log_all: bool = True
) -> None:
    """Apply `delta` to the current state of the room numbered `room`.

    Rings ("user", user) for every user of this box whose membership is touched. `log_all` False logs only those: the
    members found in a room that this box just joined did not change.
    """
    member_type = change.intern("m.room.member")
    servers: Counter[ServerName] = Counter()
    for (kind, key), number in delta.items():
        membership = None
        if kind == member_type:
            event = graph.by_number(change, number, version).event if number else None
            membership = _move_member(
                change, room, key, event, number=number, here=here, log_all=log_all, servers=servers
            )
        if number:
            change.write(PUT_CURRENT, room, kind, key, number, membership, change.position)
        else:
            change.write(DROP_CURRENT, room, kind, key)
    for server, difference in servers.items():
        _move_server(change, room, server, difference)


def _move_member(
    change: Change,
    room: int,
    user: int,
    event: Event | None,
    *,
    number: int,
    here: ServerName,
    log_all: bool,
    servers: Counter[ServerName],
) -> int | None:
    user_id = UserId(change.name(user))
    if ":" not in user_id:
        return None
    old = change.value("SELECT membership FROM memberships WHERE user = ? AND room = ?", user, room) or 0
    server = server_of(user_id)
    new = None
    if event is not None:
        # A word of tomorrow takes part in nothing today.
        new = NUMBERS.get(str(event.content.get("membership")), LEAVE)
        change.write(PUT_MEMBERSHIP, user, room, new, number, change.intern(event.sender), change.position)
    elif old:
        change.write(DROP_MEMBERSHIP, user, room)
    if (old == JOIN) != (new == JOIN):
        servers[server] += 1 if new == JOIN else -1
    if server == here:
        change.write(DROP_INVITE, user, room)
        change.wake(("user", user_id))
    if old != (new or 0) and (log_all or server == here):
        log_membership(change, room, user, new or LEAVE, old)
    return new


def log_membership(change: Change, room: int, user: int, membership: int, previous: int) -> None:
    """Add one line to the membership log; rings `MEMBERSHIPS`."""
    last = change.value("SELECT max(number) FROM membership_log") or 0
    number = max(int(last) + 1, change.position << POSITION_SHIFT)
    change.write(LOG_MEMBERSHIP, number, room, user, membership, previous)
    change.wake(MEMBERSHIPS)


def _move_server(change: Change, room: int, server: ServerName, difference: int) -> None:
    if not difference:
        return
    number = change.intern(server)
    held = change.row("SELECT joined, since FROM room_servers WHERE room = ? AND server = ?", room, number)
    joined, since = (0, change.value("SELECT max(number) FROM events") or 0) if held is None else held
    if joined + difference > 0:
        change.write(PUT_ROOM_SERVER, room, number, joined + difference, since)
    else:
        change.write(DROP_ROOM_SERVER, room, number)
