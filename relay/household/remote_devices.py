"""What we know of the devices of people elsewhere: kept current by their servers' updates, asked for after a gap.

Server-server API, "Device Management" and "End-to-End Encryption".
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from relay.base.errors import InvalidInputError
from relay.base.ids import DeviceId, ServerName, UserId, parse_user_id, server_of
from relay.base.limits import MAX_REMOTE_DEVICES_PER_USER
from relay.household import cross_signing, device_lists, key_signatures
from relay.household.cross_signing import Usage
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS remote_device_lists (
        user INTEGER PRIMARY KEY, stream_id INTEGER NOT NULL, stale INTEGER NOT NULL, asked INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS remote_devices (
        user INTEGER NOT NULL, device TEXT NOT NULL, display_name TEXT, keys BLOB,
        PRIMARY KEY (user, device)) WITHOUT ROWID""",
)
_SET_LIST = Operation(
    360,
    "INSERT INTO remote_device_lists (user, stream_id, stale, asked) VALUES (?, ?, 0, ?)"
    " ON CONFLICT (user) DO UPDATE SET stream_id = excluded.stream_id, stale = 0, asked = excluded.asked",
)
_MOVE_LIST = Operation(363, "UPDATE remote_device_lists SET stream_id = ?, stale = ? WHERE user = ?")
_SET_DEVICE = Operation(
    361,
    "INSERT INTO remote_devices (user, device, display_name, keys) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (user, device) DO UPDATE SET display_name = excluded.display_name, keys = excluded.keys",
)
_DROP_DEVICE = Operation(362, "DELETE FROM remote_devices WHERE user = ? AND device = ?")
_FORGET_DEVICES = Operation(462, "DELETE FROM remote_devices WHERE user = ?", lazy=True, patient=True)
_FORGET_LIST = Operation(463, "DELETE FROM remote_device_lists WHERE user = ?", lazy=True, patient=True)
OPERATIONS = (_SET_LIST, _SET_DEVICE, _DROP_DEVICE, _MOVE_LIST, _FORGET_DEVICES, _FORGET_LIST)


def apply_update(change: Change, origin: ServerName, content: Mapping[str, Any]) -> None:
    """Take an `m.device_list_update`: apply it where nothing was missed before it, else mark the list stale.

    One that is malformed says at least that something changed: an error would hold up all else its server has to say.

    Raises:
        InvalidInputError: it is about a user of another server than `origin`.
    """
    user = _user_of(origin, content)
    if change.find(user) is None:
        # Nobody here ever met them: a stranger's inventions take no room.
        return
    device_lists.note_changed(change, user)
    row = _list_row(change, user)
    if row is None or row[1]:
        return
    known = row[0]
    number = change.intern(user)
    device, stream_id, previous = (content.get(name) for name in ("device_id", "stream_id", "prev_id"))
    if not isinstance(device, str) or not _is_stream_id(stream_id) or not isinstance(previous, list):
        change.write(_MOVE_LIST, known, 1, number)
        return
    # No earlier update named at all is what a server says that starts, or starts anew, to tell us.
    if not previous or any(not _is_stream_id(earlier) or earlier > known for earlier in previous):
        change.write(_MOVE_LIST, known, 1, number)
        return
    if content.get("deleted") is True:
        change.write(_DROP_DEVICE, number, device)
    elif isinstance(content.get("keys"), dict):
        _set_device(change, user, device, content.get("device_display_name"), content["keys"])
    change.write(_MOVE_LIST, max(known, stream_id), 0, number)


def apply_signing_key_update(change: Change, origin: ServerName, content: Mapping[str, Any]) -> None:
    """Take an `m.signing_key_update`.

    Raises:
        InvalidInputError: it is about a user of another server than `origin`.
    """
    user = _user_of(origin, content)
    if change.find(user) is None:
        return
    cross_signing.store_remote(change, user, _cross_signing_in(content, "_key", None))
    device_lists.note_changed(change, user)


def mark_stale(change: Change, user: UserId) -> None:
    """Ask again before believing the list: updates may have gone elsewhere. Nothing known stays so."""
    row = _list_row(change, user)
    if row is not None and not row[1]:
        change.write(_MOVE_LIST, row[0], 1, change.intern(user))


def stale_lists(index: Index, after: int, limit: int) -> list[tuple[int, UserId]]:
    """Return the next users, by number, whose lists are not kept current by their servers."""
    rows = index.rows(
        "SELECT user FROM remote_device_lists WHERE stale = 1 AND user > ? ORDER BY user LIMIT ?", after, limit
    )
    return [(number, UserId(index.name(number))) for (number,) in rows]


def forget(change: Change, user: int) -> None:
    """Forget the devices of somebody nobody here meets any more; who does is told by their server when asked."""
    change.write(_FORGET_DEVICES, user)
    change.write(_FORGET_LIST, user)


def is_current(index: Index, user: UserId, in_touch_since: int = 0) -> bool:
    """Return whether the list is here, was asked for after `in_touch_since`, and nothing was missed since."""
    row = _list_row(index, user)
    return row is not None and not row[1] and row[2] >= in_touch_since


def store_list(change: Change, user: UserId, answer: Mapping[str, Any], asked: int | None = None) -> None:
    """Store the answer of `GET /user/devices/{userId}` as the whole truth.

    `asked` is the last change when the question went out: somebody met only after that may have changed in between.
    """
    stream_id = answer.get("stream_id")
    found = answer.get("devices")
    listed = {
        DeviceId(entry["device_id"]): (entry.get("device_display_name"), entry["keys"])
        for entry in (found if isinstance(found, list) else [])[:MAX_REMOTE_DEVICES_PER_USER]
        if isinstance(entry, dict) and isinstance(entry.get("device_id"), str) and isinstance(entry.get("keys"), dict)
    }
    _replace(change, user, listed)
    cross_signing.store_remote(change, user, _cross_signing_in(answer, "_key", None))
    known = stream_id if _is_stream_id(stream_id) else 0
    change.write(_SET_LIST, change.intern(user), known, change.position if asked is None else asked)


def store_answer(change: Change, user: UserId, answer: Mapping[str, Any]) -> None:
    """Store what `POST /user/keys/query` said of a user whose updates do not reach us: the next query asks again."""
    mark_stale(change, user)
    found = answer.get("device_keys")
    by_device = found.get(user) if isinstance(found, dict) else None
    listed = {
        DeviceId(device): (_name_in(keys), keys)
        for device, keys in list((by_device if isinstance(by_device, dict) else {}).items())[
            :MAX_REMOTE_DEVICES_PER_USER
        ]
        if isinstance(keys, dict)
    }
    _replace(change, user, listed)
    cross_signing.store_remote(change, user, _cross_signing_in(answer, "_keys", user))


def query_cached(index: Index, wanted: Mapping[UserId, list[DeviceId]], asking: UserId) -> dict[str, dict[str, Any]]:
    """Return what is stored, as `/keys/query` has it: `device_keys`, `master_keys`, `self_signing_keys`."""
    answer: dict[str, dict[str, Any]] = {"device_keys": {}, "master_keys": {}, "self_signing_keys": {}}
    for user, chosen in wanted.items():
        rows = index.rows(
            "SELECT device, display_name, keys FROM remote_devices WHERE user = ? ORDER BY device", index.find(user)
        )
        shown = {}
        for device, name, stored in rows:
            if not chosen or device in chosen:
                keys = key_signatures.with_signatures(index, user, device, asking, unpack(stored))
                shown[device] = {**keys, "unsigned": {} if name is None else {"device_display_name": name}}
        if shown:
            answer["device_keys"][user] = shown
        for usage, key in cross_signing.keys_of(index, user, asking).items():
            answer[f"{usage}_keys"][user] = key
    return answer


def _replace(change: Change, user: UserId, listed: Mapping[DeviceId, tuple[object, dict[str, Any]]]) -> None:
    rows = change.rows("SELECT device FROM remote_devices WHERE user = ? ORDER BY device", change.find(user))
    for (device,) in rows:
        if device not in listed:
            change.write(_DROP_DEVICE, change.intern(user), device)
    for device, (name, keys) in listed.items():
        _set_device(change, user, device, name, keys)


def _set_device(change: Change, user: UserId, device: str, name: object, keys: Mapping[str, Any]) -> None:
    if keys.get("user_id") != user or keys.get("device_id") != device:
        return
    number = change.intern(user)
    shown = name if isinstance(name, str) else None
    try:
        stored = pack({field: value for field, value in keys.items() if field != "unsigned"})
    except InvalidInputError:
        return
    count = change.value("SELECT COUNT(*) FROM remote_devices WHERE user = ? AND device <> ?", number, device)
    if count >= MAX_REMOTE_DEVICES_PER_USER:
        return
    before = change.row("SELECT display_name, keys FROM remote_devices WHERE user = ? AND device = ?", number, device)
    if before != (shown, stored):
        change.write(_SET_DEVICE, number, device, shown, stored)


def _cross_signing_in(answer: Mapping[str, Any], suffix: str, user: UserId | None) -> dict[Usage, dict[str, Any]]:
    found: dict[Usage, dict[str, Any]] = {}
    usages: tuple[Usage, ...] = ("master", "self_signing")
    for usage in usages:
        key = answer.get(usage + suffix)
        if user is not None:
            key = key.get(user) if isinstance(key, dict) else None
        if isinstance(key, dict):
            found[usage] = key
    return found


def _name_in(keys: Mapping[str, Any]) -> object:
    unsigned = keys.get("unsigned")
    return unsigned.get("device_display_name") if isinstance(unsigned, dict) else None


def _is_stream_id(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**63


def _list_row(index: Index, user: UserId) -> tuple[int, int, int] | None:
    row = index.row("SELECT stream_id, stale, asked FROM remote_device_lists WHERE user = ?", index.find(user))
    return None if row is None else (row[0], row[1], row[2])


def _user_of(origin: ServerName, content: Mapping[str, Any]) -> UserId:
    user = parse_user_id(str(content.get("user_id")))
    if server_of(user) != origin:
        raise InvalidInputError("an update is about a user of another server")
    return user
