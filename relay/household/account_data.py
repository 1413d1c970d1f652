"""What apps keep on the box for themselves: global and per room, tags included, synced to a person's other devices.

Client-server API, "Client Config" and "Room Tagging".
"""

from typing import Any

from relay.base.errors import TooLargeError
from relay.base.ids import RoomId, UserId
from relay.base.limits import MAX_ACCOUNT_DATA_BYTES, MAX_TAGS_PER_ROOM
from relay.household import push_rules
from relay.household.faults import ServerManagedError
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS account_data (
        user INTEGER NOT NULL, room INTEGER NOT NULL, type TEXT NOT NULL, content BLOB NOT NULL,
        position INTEGER NOT NULL, PRIMARY KEY (user, room, type)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS account_data_position ON account_data (user, position)",
)
_PUT = Operation(
    385,
    "INSERT INTO account_data (user, room, type, content, position) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (user, room, type) DO UPDATE SET content = excluded.content, position = excluded.position",
)
_ERASE = Operation(386, "DELETE FROM account_data WHERE user = ?")
_PUT_LAZILY = Operation(387, _PUT.sql, lazy=True)
OPERATIONS = (_PUT, _ERASE, _PUT_LAZILY)

TAGS = "m.tag"
SERVER_MANAGED = frozenset({"m.fully_read", "m.push_rules"})
_GLOBAL = 0


def put(
    change: Change, user: UserId, room: RoomId | None, data_type: str, content: dict[str, Any], *, lazy: bool = False
) -> None:
    """Store `content`; the same content again is not news for anybody.

    `lazy` is for what an app sends again by itself: it is written with the next commit.

    Raises:
        TooLargeError: it is longer than `MAX_ACCOUNT_DATA_BYTES`.
    """
    stored = pack(content)
    if len(stored) + len(data_type) > MAX_ACCOUNT_DATA_BYTES:
        raise TooLargeError(f"account data may have at most {MAX_ACCOUNT_DATA_BYTES} bytes")
    if get(change, user, room, data_type) == content:
        return
    number = _GLOBAL if room is None else change.intern(room)
    change.write(_PUT_LAZILY if lazy else _PUT, change.intern(user), number, data_type, stored, change.position)
    change.wake(("user", user))


def refuse_server_managed(data_type: str) -> None:
    """Let pass what apps may write themselves.

    Raises:
        ServerManagedError: `data_type` is written by the box only.
    """
    if data_type in SERVER_MANAGED:
        raise ServerManagedError(f"{data_type} cannot be set through account data")


def get(index: Index, user: UserId, room: RoomId | None, data_type: str) -> dict[str, Any] | None:
    """Return the content stored last, None for none; `m.push_rules` is always there."""
    if room is None and data_type == push_rules.ACCOUNT_DATA_TYPE:
        return {"global": push_rules.ruleset(index, user)}
    number = _GLOBAL if room is None else index.find(room)
    stored = index.value(
        "SELECT content FROM account_data WHERE user = ? AND room = ? AND type = ?", index.find(user), number, data_type
    )
    return None if stored is None else dict(unpack(stored))


def since(
    index: Index, user: UserId, after_position: int
) -> tuple[dict[str, dict[str, Any]], dict[RoomId, dict[str, dict[str, Any]]]]:
    """Return what changed after `after_position` (0: everything), as (global, per room), each type -> content."""
    everywhere: dict[str, dict[str, Any]] = {}
    by_room: dict[RoomId, dict[str, dict[str, Any]]] = {}
    rows = index.rows(
        "SELECT room, type, content FROM account_data WHERE user = ? AND position > ? ORDER BY position, room, type",
        index.find(user),
        after_position,
    )
    for room, data_type, content in rows:
        place = everywhere if room == _GLOBAL else by_room.setdefault(RoomId(index.name(room)), {})
        place[data_type] = unpack(content)
    if after_position <= 0 or push_rules.changed_at(index, user) > after_position:
        everywhere[push_rules.ACCOUNT_DATA_TYPE] = {"global": push_rules.ruleset(index, user)}
    return everywhere, by_room


def some(
    index: Index, user: UserId, after: tuple[int, str], limit: int
) -> list[tuple[tuple[int, str], RoomId | None, str, dict[str, Any]]]:
    """Return up to `limit` entries that follow the place `after` (first: -1, ""), as (place, room, type, content)."""
    rows = index.rows(
        "SELECT room, type, content FROM account_data WHERE user = ? AND (room, type) > (?, ?)"
        " ORDER BY room, type LIMIT ?",
        index.find(user),
        *after,
        limit,
    )
    return [
        ((room, kind), None if room == _GLOBAL else RoomId(index.name(room)), kind, dict(unpack(content)))
        for room, kind, content in rows
    ]


def of_room(index: Index, user: UserId, room: RoomId) -> dict[str, dict[str, Any]]:
    """Return everything about one room, type -> content."""
    rows = index.rows(
        "SELECT type, content FROM account_data WHERE user = ? AND room = ? ORDER BY position, type",
        index.find(user),
        index.find(room) or -1,
    )
    return {kind: unpack(content) for kind, content in rows}


def tags(index: Index, user: UserId, room: RoomId) -> dict[str, dict[str, Any]]:
    """Return the tags of a room, name -> what was stored with it."""
    stored = get(index, user, room, TAGS) or {}
    found = stored.get("tags")
    return found if isinstance(found, dict) else {}


def set_tag(change: Change, user: UserId, room: RoomId, tag: str, content: dict[str, Any]) -> None:
    """Tag a room.

    Raises:
        TooLargeError: the room has `MAX_TAGS_PER_ROOM` tags already.
    """
    changed = {**tags(change, user, room), tag: content}
    if len(changed) > MAX_TAGS_PER_ROOM:
        raise TooLargeError(f"a room may have at most {MAX_TAGS_PER_ROOM} tags")
    put(change, user, room, TAGS, {"tags": changed})


def remove_tag(change: Change, user: UserId, room: RoomId, tag: str) -> None:
    """Take a tag off; one that is not there is off already."""
    left = {name: content for name, content in tags(change, user, room).items() if name != tag}
    if get(change, user, room, TAGS) is not None:
        put(change, user, room, TAGS, {"tags": left})


def erase(change: Change, user: UserId) -> None:
    """Forget all of it: the account is gone."""
    change.write(_ERASE, change.intern(user))
