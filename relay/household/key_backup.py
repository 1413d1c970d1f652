"""Server-side key backup: room keys that an app encrypted for itself, so that a lost phone loses no history.

Client-server API, "Server-side key backups".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.base.errors import InvalidParamError, MissingParamError, NotFoundError, TooLargeError
from relay.base.ids import RoomId, UserId
from relay.base.limits import MAX_BACKUP_AUTH_DATA_BYTES, MAX_BACKUP_KEY_BYTES
from relay.household.faults import WrongBackupVersionError
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS backups (
        user INTEGER NOT NULL, version INTEGER NOT NULL, algorithm TEXT NOT NULL, auth_data BLOB NOT NULL,
        etag INTEGER NOT NULL, count INTEGER NOT NULL, deleted INTEGER NOT NULL,
        PRIMARY KEY (user, version)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS backup_keys (
        user INTEGER NOT NULL, version INTEGER NOT NULL, room INTEGER NOT NULL, session TEXT NOT NULL,
        first_message_index INTEGER NOT NULL, forwarded_count INTEGER NOT NULL, is_verified INTEGER NOT NULL,
        session_data BLOB NOT NULL, PRIMARY KEY (user, version, room, session)) WITHOUT ROWID""",
)
_ADD = Operation(
    405,
    "INSERT INTO backups (user, version, algorithm, auth_data, etag, count, deleted) VALUES (?, ?, ?, ?, 0, 0, 0)",
)
_SET_AUTH_DATA = Operation(406, "UPDATE backups SET auth_data = ? WHERE user = ? AND version = ?")
_MARK_DELETED = Operation(
    407, "UPDATE backups SET deleted = 1, auth_data = x'', count = 0 WHERE user = ? AND version = ?"
)
_DROP_ALL = Operation(408, "DELETE FROM backup_keys WHERE user = ? AND version = ?")
_PUT_KEY = Operation(
    409,
    "INSERT INTO backup_keys"
    " (user, version, room, session, first_message_index, forwarded_count, is_verified, session_data)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user, version, room, session)"
    " DO UPDATE SET first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,"
    " is_verified = excluded.is_verified, session_data = excluded.session_data",
)
_DROP_ROOM = Operation(410, "DELETE FROM backup_keys WHERE user = ? AND version = ? AND room = ?")
_DROP_KEY = Operation(411, "DELETE FROM backup_keys WHERE user = ? AND version = ? AND room = ? AND session = ?")
_COUNT = Operation(412, "UPDATE backups SET etag = ?, count = ? WHERE user = ? AND version = ?")
OPERATIONS = (_ADD, _SET_AUTH_DATA, _MARK_DELETED, _DROP_ALL, _PUT_KEY, _DROP_ROOM, _DROP_KEY, _COUNT)

Sessions = dict[RoomId, dict[str, dict[str, Any]]]
"""room -> megolm session id -> key data, as `/room_keys/keys` has it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """One version of a person's backup.

    Attributes:
        etag: another number after each change of the keys.
        count: how many keys it holds.
    """

    version: str
    algorithm: str
    auth_data: dict[str, Any]
    etag: str
    count: int


def create(change: Change, user: UserId, algorithm: str, auth_data: dict[str, Any]) -> str:
    """Start a new backup, which is the current one from now on; return its version.

    Raises:
        TooLargeError: the auth data is longer than `MAX_BACKUP_AUTH_DATA_BYTES`.
    """
    owner = change.intern(user)
    version = 1 + (change.value("SELECT MAX(version) FROM backups WHERE user = ?", owner) or 0)
    change.write(_ADD, owner, version, algorithm, _stored_auth_data(auth_data))
    return str(version)


def current(index: Index, user: UserId) -> Backup:
    """Return the newest backup.

    Raises:
        NotFoundError: there is none.
    """
    version = index.value("SELECT MAX(version) FROM backups WHERE user = ? AND deleted = 0", index.find(user))
    return get(index, user, "" if version is None else str(version))


def get(index: Index, user: UserId, version: str) -> Backup:
    """Return one backup.

    Raises:
        NotFoundError: there is none of this version.
    """
    row = index.row(
        "SELECT algorithm, auth_data, etag, count FROM backups WHERE user = ? AND version = ? AND deleted = 0",
        index.find(user),
        _number(version),
    )
    if row is None:
        raise NotFoundError("no such backup version")
    return Backup(version, row[0], unpack(row[1]), str(row[2]), row[3])


def update(change: Change, user: UserId, version: str, algorithm: str, auth_data: dict[str, Any]) -> None:
    """Replace the auth data.

    Raises:
        NotFoundError: there is no such version.
        InvalidParamError: the algorithm is another one than the backup's.
        TooLargeError: as `create`.
    """
    if get(change, user, version).algorithm != algorithm:
        raise InvalidParamError("the algorithm of a backup cannot change")
    change.write(_SET_AUTH_DATA, _stored_auth_data(auth_data), change.intern(user), _number(version))


def delete(change: Change, user: UserId, version: str) -> None:
    """Delete a backup and its keys; one that was deleted before stays so.

    Raises:
        NotFoundError: there never was such a version.
    """
    owner = change.intern(user)
    number = _number(version)
    if change.row("SELECT 1 FROM backups WHERE user = ? AND version = ?", owner, number) is None:
        raise NotFoundError("no such backup version")
    change.write(_DROP_ALL, owner, number)
    change.write(_MARK_DELETED, owner, number)


def put_keys(change: Change, user: UserId, version: str, sessions: Sessions) -> Backup:
    """Store keys where they are better than what is there; return the backup with its new etag and count.

    Raises:
        NotFoundError: there is no backup.
        WrongBackupVersionError: `version` is not the newest.
        MissingParamError, InvalidParamError, TooLargeError: a key lacks a field, has a wrong one or is too long.
    """
    newest = current(change, user)
    if newest.version != version:
        raise WrongBackupVersionError(newest.version)
    owner, number = change.intern(user), int(version)
    added = changed = 0
    for room, by_session in sessions.items():
        room_number = change.intern(room)
        for session, data in by_session.items():
            new = _checked(data)
            stored = change.row(
                "SELECT is_verified, first_message_index, forwarded_count FROM backup_keys"
                " WHERE user = ? AND version = ? AND room = ? AND session = ?",
                owner,
                number,
                room_number,
                session,
            )
            if stored is not None and _rank(*new[:3]) >= _rank(*stored):
                continue
            verified, first, forwarded, session_data = new
            change.write(_PUT_KEY, owner, number, room_number, session, first, forwarded, int(verified), session_data)
            added += stored is None
            changed += 1
    return _counted(change, owner, newest, added, changed=changed > 0)


def keys(index: Index, user: UserId, version: str, room: RoomId | None = None, session: str | None = None) -> Sessions:
    """Return stored keys: all, those of a room, or one.

    Raises:
        NotFoundError: there is no such version.
    """
    get(index, user, version)
    where, params = _chosen(index, room, session)
    rows = index.rows(
        "SELECT room, session, first_message_index, forwarded_count, is_verified, session_data FROM backup_keys"  # noqa: S608 - constants
        f" WHERE user = ? AND version = ?{where} ORDER BY room, session",
        index.find(user),
        _number(version),
        *params,
    )
    found: Sessions = {}
    for room_number, name, *data in rows:
        found.setdefault(RoomId(index.name(room_number)), {})[name] = _shown(*data)
    return found


def every(index: Index, user: UserId) -> list[Backup]:
    """Return all backups that were not deleted, oldest first."""
    rows = index.rows("SELECT version FROM backups WHERE user = ? AND deleted = 0 ORDER BY version", index.find(user))
    return [get(index, user, str(version)) for (version,) in rows]


def some_keys(
    index: Index, user: UserId, version: str, after: tuple[str, str], limit: int
) -> list[tuple[RoomId, str, dict[str, Any]]]:
    """Return up to `limit` keys as (room, session, data) that follow the room and session `after` (or "", "")."""
    rows = index.rows(
        "SELECT n.text, k.session, k.first_message_index, k.forwarded_count, k.is_verified, k.session_data"
        " FROM backup_keys k JOIN names n ON n.number = k.room"
        " WHERE k.user = ? AND k.version = ? AND (k.room, k.session) > (?, ?) ORDER BY k.room, k.session LIMIT ?",
        index.find(user),
        _number(version),
        # The empty text may be a name too: of an empty state key.
        (after[0] and index.find(after[0])) or 0,
        after[1],
        limit,
    )
    return [(RoomId(room), session, _shown(*data)) for room, session, *data in rows]


def delete_keys(
    change: Change, user: UserId, version: str, room: RoomId | None = None, session: str | None = None
) -> Backup:
    """Delete keys: all, those of a room, or one; return the backup with its new etag and count.

    Raises:
        NotFoundError: there is no such version.
    """
    backup = get(change, user, version)
    owner, number = change.intern(user), int(version)
    where, params = _chosen(change, room, session)
    gone = change.value(
        f"SELECT COUNT(*) FROM backup_keys WHERE user = ? AND version = ?{where}",  # noqa: S608 - constants
        owner,
        number,
        *params,
    )
    operation = _DROP_ALL if room is None else _DROP_ROOM if session is None else _DROP_KEY
    change.write(operation, owner, number, *params)
    return _counted(change, owner, backup, -gone, changed=gone > 0)


def erase(change: Change, user: UserId) -> None:
    """Delete every backup: the account is gone."""
    owner = change.intern(user)
    for (version,) in change.rows("SELECT version FROM backups WHERE user = ? AND deleted = 0 ORDER BY version", owner):
        delete(change, user, str(version))


def _shown(first: int, forwarded: int, verified: int, data: bytes) -> dict[str, Any]:
    return {
        "first_message_index": first,
        "forwarded_count": forwarded,
        "is_verified": bool(verified),
        "session_data": unpack(data),
    }


def _counted(change: Change, owner: int, backup: Backup, added: int, *, changed: bool) -> Backup:
    if not changed:
        return backup
    etag, count = int(backup.etag) + 1, backup.count + added
    change.write(_COUNT, etag, count, owner, int(backup.version))
    return Backup(backup.version, backup.algorithm, backup.auth_data, str(etag), count)


def _rank(verified: int, first_message_index: int, forwarded_count: int) -> tuple[bool, int, int]:
    """The smaller, the better: verified first, then what opens more, then what came more directly."""
    return (not verified, first_message_index, forwarded_count)


def _checked(data: Mapping[str, Any]) -> tuple[int, int, int, bytes]:
    for name in ("first_message_index", "forwarded_count", "is_verified", "session_data"):
        if data.get(name) is None:
            raise MissingParamError(f"{name} is missing from a key")
    first, forwarded, verified = data["first_message_index"], data["forwarded_count"], data["is_verified"]
    numbers_fit = all(type(number) is int and 0 <= number < 2**53 for number in (first, forwarded))
    if not numbers_fit or not isinstance(verified, bool) or not isinstance(data["session_data"], dict):
        raise InvalidParamError("a key has a field of the wrong type")
    stored = pack(data["session_data"])
    if len(stored) > MAX_BACKUP_KEY_BYTES:
        raise TooLargeError(f"a key may have at most {MAX_BACKUP_KEY_BYTES} bytes")
    return int(verified), first, forwarded, stored


def _chosen(index: Index, room: RoomId | None, session: str | None) -> tuple[str, list[int | str]]:
    if room is None:
        return "", []
    # 0 is no name's number: an unknown room has no keys.
    number = index.find(room) or 0
    return (" AND room = ?", [number]) if session is None else (" AND room = ? AND session = ?", [number, session])


def _stored_auth_data(auth_data: dict[str, Any]) -> bytes:
    stored = pack(auth_data)
    if len(stored) > MAX_BACKUP_AUTH_DATA_BYTES:
        raise TooLargeError(f"auth_data may have at most {MAX_BACKUP_AUTH_DATA_BYTES} bytes")
    return stored


def _number(version: str) -> int:
    return int(version) if version.isascii() and version.isdigit() and len(version) < 16 else -1
