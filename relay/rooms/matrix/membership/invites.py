"""Invites from elsewhere to rooms this box is not in: a stranger's question, kept in a bounded book.

Nothing about the room is fetched or believed; what is shown is what the stranger said.
"""

from dataclasses import dataclass
from typing import Any

from relay.base.errors import RateLimitedError
from relay.base.ids import RoomId, ServerName, UserId, server_of
from relay.base.limits import INVITE_LIFE_S, MAX_INVITES, MAX_INVITES_PER_ORIGIN
from relay.core.matrix.events import Event, client_format, event_id_of, stored_event
from relay.core.matrix.room_versions import room_version
from relay.rooms.matrix.storage.current_state import log_membership
from relay.rooms.matrix.storage.memberships import INVITE, LEAVE
from relay.rooms.matrix.storage.packing import pack, pack_json, unpack, unpack_json
from relay.rooms.matrix.tables import DROP_INVITE, PUT_INVITE
from relay.store.ledger import Change, Index

_ROW = "SELECT origin, sender, position, received_ms, version, pdu, stripped FROM invites WHERE user = ? AND room = ?"


@dataclass(frozen=True, slots=True)
class Invite:
    """One question.

    Attributes:
        event: the invite itself.
        stripped: what the stranger says of the room, stripped state.
        origin: the server to ask when it is accepted or refused.
    """

    room: RoomId
    event: Event
    stripped: list[dict[str, Any]]
    origin: ServerName
    position: int

    def shown(self) -> list[dict[str, Any]]:
        """Return the stripped state for apps, the invite itself last."""
        own = client_format(self.event, with_room_id=False)
        kept = ("type", "state_key", "sender", "content", "origin_server_ts", "event_id")
        return [*self.stripped, {name: own[name] for name in kept if name in own}]


def put(
    change: Change, user: UserId, event: Event, stripped: list[dict[str, Any]], *, origin: ServerName, now_ms: int
) -> None:
    """Keep a question; the same one again replaces it.

    Raises:
        RateLimitedError: the origin, or all of them together, have asked too much.
    """
    user_number, room_number, origin_number = change.intern(user), change.intern(event.room_id), change.intern(origin)
    if change.row(_ROW, user_number, room_number) is None:
        if _is_full(change, origin_number):
            # Only where room is needed: a clock that jumped by years makes every question look old.
            expire(change, now_ms)
        if _is_full(change, origin_number):
            raise RateLimitedError("too many invites wait for an answer", retry_after_s=3600.0)
        log_membership(change, room_number, user_number, INVITE, 0)
    change.write(
        PUT_INVITE,
        user_number,
        room_number,
        origin_number,
        change.intern(event.sender),
        change.position,
        now_ms,
        event.version.id,
        pack(event.raw),
        pack_json(stripped),
    )
    change.wake(("user", user))


def drop(change: Change, user: UserId, room: RoomId) -> bool:
    """Take a question away: refused, withdrawn or expired; False if there was none."""
    user_number, room_number = change.find(user), change.find(room)
    if user_number is None or room_number is None or change.row(_ROW, user_number, room_number) is None:
        return False
    change.write(DROP_INVITE, user_number, room_number)
    log_membership(change, room_number, user_number, LEAVE, INVITE)
    change.wake(("user", user))
    return True


def _is_full(index: Index, origin: int) -> bool:
    ours = index.value("SELECT count(*) FROM invites WHERE origin = ?", origin)
    return bool(ours >= MAX_INVITES_PER_ORIGIN or index.value("SELECT count(*) FROM invites") >= MAX_INVITES)


def expire(change: Change, now_ms: int) -> None:
    """Take away what nobody answered for `INVITE_LIFE_S`."""
    old = change.rows(
        "SELECT user, room FROM invites WHERE received_ms < ? ORDER BY user, room", now_ms - INVITE_LIFE_S * 1000
    )
    for user, room in old:
        drop(change, UserId(change.name(user)), RoomId(change.name(room)))


def get(index: Index, user: UserId, room: RoomId) -> Invite | None:
    """Return the question that waits for this user about this room."""
    row = index.row(_ROW, index.find(user), index.find(room))
    if row is None:
        return None
    origin, _, position, _, version, pdu, stripped = row
    raw = unpack(pdu, room)
    event = stored_event(raw, room_version(version), event_id_of(raw, room_version(version)))
    return Invite(room, event, unpack_json(stripped), ServerName(index.name(origin)), position)


def version_of(index: Index, room: RoomId) -> str | None:
    """Return the version of a room that is known from a question only."""
    version: str | None = index.value("SELECT version FROM invites WHERE room = ? LIMIT 1", index.find(room))
    return version


def withdraw(change: Change, event: Event) -> bool:
    """Take a question away because of a leave or ban of the invited user that its origin sent; False if it is none."""
    if event.type != "m.room.member" or event.content.get("membership") not in ("leave", "ban"):
        return False
    user = UserId(event.key[1])
    invite = get(change, user, event.room_id)
    if invite is None or server_of(UserId(event.sender)) != server_of(UserId(invite.event.sender)):
        return False
    return drop(change, user, event.room_id)
