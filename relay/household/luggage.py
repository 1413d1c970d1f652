"""What a person takes along to another box, and how it is unpacked there: everything but rooms and pictures.

Packed are profile, account data, push rules, and key backups as they are: sealed with the person's recovery key. What
cannot move is bound to the old user id by signatures: devices and cross-signing keys.

A record is a list of msgpack values, its kind first:

    ["cross_signing", {usage: public key}]      for information: it stays behind
    ["rules", edits]                            push rules, as far as the person changed them
    ["profile", {field: value}]
    ["data", room id or None, type, content]    account data, tags included
    ["backup", identity, algorithm, auth_data]  followed by its keys
    ["keys", identity, [[room, session, key data]...]]

Unpacking adds what is not there yet and never replaces what the person has set on the new box: a second time it changes
nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Collection
from typing import Any

from relay.base.errors import InvalidInputError, InvalidParamError
from relay.base.ids import RoomId, UserId, parse_room_id
from relay.base.limits import MAX_LUGGAGE_PAGE_BYTES
from relay.household import account_data, cross_signing, key_backup, profile, push_rules
from relay.household.stored_json import pack
from relay.store.ledger import Change, Index

Record = list[Any]
Place = list[Any]
"""Where the next page begins: the stage, and the last key of it."""

FIRST: Place = ["person"]
_DEFAULT_KEY = "m.secret_storage.default_key"
_ROWS = 8
_KEYS = 64


def page(index: Index, user: UserId, place: Place) -> tuple[list[Record], Place | None]:
    """Return the next records, about `MAX_LUGGAGE_PAGE_BYTES` of them, and where to go on: None at the end.

    Raises:
        InvalidInputError: no page ever ended at `place`.
    """
    match place:
        case ["person"]:
            return _person(index, user), ["data", -1, ""]
        case ["data", int(room), str(kind)]:
            return _data(index, user, (room, kind))
        case ["keys", int(version), str(room), str(session)]:
            return _keys(index, user, version, (room, session))
        case _:
            raise InvalidInputError("there is no such place in what is packed")


def _person(index: Index, user: UserId) -> list[Record]:
    found = {usage: cross_signing.stored_key(index, user, usage) for usage in cross_signing.USAGES}
    publics = {usage: sorted(key.get("keys", {})) for usage, key in found.items() if key is not None}
    edits = push_rules.own_edits(index, user)
    records: list[Record] = [["cross_signing", publics]] if publics else []
    records += [["rules", edits]] if edits else []
    return [*records, ["profile", profile.get(index, user)]]


def _data(index: Index, user: UserId, after: tuple[int, str]) -> tuple[list[Record], Place | None]:
    records: list[Record] = []
    size_bytes = 0
    while rows := account_data.some(index, user, after, _ROWS):
        for place, room, kind, content in rows:
            size_bytes += len(pack(content))
            if records and size_bytes > MAX_LUGGAGE_PAGE_BYTES:
                return records, ["data", *after]
            records.append(["data", room, kind, content])
            after = place
    return records, ["keys", 0, "", ""]


def _keys(index: Index, user: UserId, version: int, after: tuple[str, str]) -> tuple[list[Record], Place | None]:
    backups = [backup for backup in key_backup.every(index, user) if int(backup.version) >= version]
    if not backups:
        return [], None
    backup = backups[0]
    number = int(backup.version)
    records: list[Record] = []
    if number != version or after == ("", ""):
        records.append(["backup", identity(backup.algorithm, backup.auth_data), backup.algorithm, backup.auth_data])
    size_bytes, keys = 0, list[Any]()
    rows = key_backup.some_keys(index, user, backup.version, after if number == version else ("", ""), _KEYS)
    for room, session, data in rows:
        size_bytes += len(pack(data))
        if keys and size_bytes > MAX_LUGGAGE_PAGE_BYTES:
            break
        keys.append([room, session, data])
    if not rows:
        return records, ["keys", number + 1, "", ""]
    records.append(["keys", identity(backup.algorithm, backup.auth_data), keys])
    return records, ["keys", number, *keys[-1][:2]]


def identity(algorithm: str, auth_data: dict[str, Any]) -> bytes:
    """Return 16 bytes that tell one key backup from others, on whatever box."""
    return hashlib.blake2b(pack([algorithm, auth_data]), digest_size=16).digest()


def fits(index: Index, user: UserId, default_key: str, backups: Collection[bytes]) -> bool:
    """Return whether secret storage and key backups may move in: the account has none, or those very ones already.

    Args:
        index: what the account has now.
        user: who moves in.
        default_key: the id of the default key of the packed secret storage, empty for none.
        backups: the identities of the packed backups.
    """
    held = (account_data.get(index, user, None, _DEFAULT_KEY) or {}).get("key", "")
    own = [identity(backup.algorithm, backup.auth_data) for backup in key_backup.every(index, user)]
    return held in ("", default_key) and all(one in backups for one in own)


def unpack(change: Change, user: UserId, record: Record, *, secrets: bool) -> Counter[str]:
    """Take one record in; return how many of each kind came, were `kept` as they are here, or `left` out.

    Args:
        change: what it happens in.
        user: who moved in.
        record: of the old box.
        secrets: whether secret storage and key backups are taken in: what `fits` said before the first one.

    Raises:
        RelayError: the record holds what no app could have stored.
    """
    match record:
        case ["cross_signing", dict()]:
            return Counter(left=1)
        case ["rules", dict(edits)]:
            return Counter(rules=1) if push_rules.adopt(change, user, edits) else Counter(kept=1)
        case ["profile", dict(fields)]:
            return _unpack_profile(change, user, fields)
        case ["data", None | str() as room, str(kind), dict(content)]:
            place = None if room is None else parse_room_id(room)
            return _unpack_data(change, user, place, kind, content, secrets=secrets)
        case ["backup", bytes(name), str(algorithm), dict(auth_data)]:
            return _unpack_backup(change, user, name, algorithm, auth_data) if secrets else Counter(left=1)
        case ["keys", bytes(name), list(keys)]:
            return _unpack_keys(change, user, name, keys) if secrets else Counter(left=len(keys))
        case _:
            raise InvalidInputError(f"this release does not know a record like {str(record[:1])[:60]}")


def _unpack_profile(change: Change, user: UserId, fields: dict[str, Any]) -> Counter[str]:
    held = profile.get(change, user)
    for name, value in fields.items():
        if name not in held:
            profile.put(change, user, name, value)
    kept = sum(name in held and held[name] != value for name, value in fields.items())
    return Counter(profile=len(fields.keys() - held.keys()), kept=kept)


def _unpack_data(
    change: Change, user: UserId, room: RoomId | None, kind: str, content: dict[str, Any], *, secrets: bool
) -> Counter[str]:
    if kind.startswith("m.cross_signing.") or (_is_secret(kind, content) and not secrets):
        return Counter(left=1)
    held = account_data.get(change, user, room, kind)
    if kind in _MERGED and room is None:
        content = _MERGED[kind](held or {}, content)
    elif held:
        return Counter(kept=int(held != content))
    if content == held:
        return Counter()
    account_data.put(change, user, room, kind, content)
    return Counter(data=1)


def _is_secret(kind: str, content: dict[str, Any]) -> bool:
    # Client-server API, "Secrets": what is stored encrypted with a key of secret storage has just this one field.
    return kind.startswith("m.secret_storage.") or isinstance(content.get("encrypted"), dict)


def _merge_direct(here: dict[str, Any], packed: dict[str, Any]) -> dict[str, Any]:
    merged = dict(here)
    for user, rooms in packed.items():
        if isinstance(rooms, list):
            held = merged.get(user)
            merged[user] = list(dict.fromkeys([*(held if isinstance(held, list) else []), *map(str, rooms)]))
    return merged


def _merge_ignored(here: dict[str, Any], packed: dict[str, Any]) -> dict[str, Any]:
    held, more = here.get("ignored_users"), packed.get("ignored_users")
    return {
        **packed,
        **here,
        "ignored_users": {**(more if isinstance(more, dict) else {}), **(held if isinstance(held, dict) else {})},
    }


_MERGED = {"m.direct": _merge_direct, "m.ignored_user_list": _merge_ignored}


def _unpack_backup(
    change: Change, user: UserId, name: bytes, algorithm: str, auth_data: dict[str, Any]
) -> Counter[str]:
    if name != identity(algorithm, auth_data):
        raise InvalidParamError("a key backup is not the one it says it is")
    if _version_of(change, user, name) is not None:
        return Counter()
    key_backup.create(change, user, algorithm, auth_data)
    return Counter(backups=1)


def _unpack_keys(change: Change, user: UserId, name: bytes, keys: list[Any]) -> Counter[str]:
    version = _version_of(change, user, name)
    if version is None or version != key_backup.current(change, user).version:
        # An older one is complete: the next one was begun after its last key.
        return Counter(kept=len(keys))
    sessions: key_backup.Sessions = {}
    for entry in keys:
        match entry:
            case [str(room), str(session), dict(data)]:
                sessions.setdefault(parse_room_id(room), {})[session] = data
            case _:
                raise InvalidParamError("a key of the backup has not the form of one")
    before = key_backup.current(change, user).count
    return Counter(backup_keys=key_backup.put_keys(change, user, version, sessions).count - before)


def _version_of(index: Index, user: UserId, name: bytes) -> str | None:
    found = (one.version for one in key_backup.every(index, user) if identity(one.algorithm, one.auth_data) == name)
    return next(found, None)
