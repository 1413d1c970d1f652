"""Identity keys, one-time keys and fallback keys of our own devices.

A claim is one change: what is answered is durable first, so no power cut gives a one-time key out twice.
Client-server API, "End-to-End Encryption", "Key management API".
"""

from collections.abc import Iterable, Mapping
from typing import Any

from relay.base.errors import InvalidParamError, TooLargeError
from relay.base.ids import DeviceId, UserId
from relay.base.limits import MAX_CLAIMED_KEY_IDS_PER_DEVICE, MAX_ONE_TIME_KEYS_PER_UPLOAD
from relay.household import key_signatures
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS device_keys (
        user INTEGER NOT NULL, device TEXT NOT NULL, keys BLOB NOT NULL,
        PRIMARY KEY (user, device)) WITHOUT ROWID""",
    # A claimed key stays as its name with the position of the claim: an app whose upload was answered into the void
    # sends it again, and it must not come back to life.
    """CREATE TABLE IF NOT EXISTS one_time_keys (
        user INTEGER NOT NULL, device TEXT NOT NULL, algorithm TEXT NOT NULL, key_id TEXT NOT NULL,
        key BLOB, position INTEGER NOT NULL, claimed INTEGER NOT NULL,
        PRIMARY KEY (user, device, algorithm, key_id)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS fallback_keys (
        user INTEGER NOT NULL, device TEXT NOT NULL, algorithm TEXT NOT NULL, key_id TEXT NOT NULL,
        key BLOB NOT NULL, used INTEGER NOT NULL,
        PRIMARY KEY (user, device, algorithm)) WITHOUT ROWID""",
)
_SET_KEYS = Operation(
    330,
    "INSERT INTO device_keys (user, device, keys) VALUES (?, ?, ?)"
    " ON CONFLICT (user, device) DO UPDATE SET keys = excluded.keys",
)
_DROP_KEYS = Operation(331, "DELETE FROM device_keys WHERE user = ? AND device = ?")
_ADD_ONE_TIME = Operation(
    332,
    "INSERT INTO one_time_keys (user, device, algorithm, key_id, key, position, claimed) VALUES (?, ?, ?, ?, ?, ?, 0)",
)
_CLAIM = Operation(
    333,
    "UPDATE one_time_keys SET key = NULL, claimed = ? WHERE user = ? AND device = ? AND algorithm = ? AND key_id = ?",
)
_DROP_ONE_TIME = Operation(334, "DELETE FROM one_time_keys WHERE user = ? AND device = ?")
_PRUNE_CLAIMED = Operation(
    335, "DELETE FROM one_time_keys WHERE user = ? AND device = ? AND claimed > 0 AND claimed < ?"
)
_SET_FALLBACK = Operation(
    336,
    "INSERT INTO fallback_keys (user, device, algorithm, key_id, key, used) VALUES (?, ?, ?, ?, ?, 0)"
    " ON CONFLICT (user, device, algorithm) DO UPDATE SET key_id = excluded.key_id, key = excluded.key, used = 0",
)
_USE_FALLBACK = Operation(337, "UPDATE fallback_keys SET used = 1 WHERE user = ? AND device = ? AND algorithm = ?")
_DROP_FALLBACK = Operation(338, "DELETE FROM fallback_keys WHERE user = ? AND device = ?")
_WITHDRAW = Operation(339, "UPDATE one_time_keys SET key = NULL, claimed = -1 WHERE claimed = 0")
OPERATIONS = (
    _SET_KEYS,
    _DROP_KEYS,
    _ADD_ONE_TIME,
    _CLAIM,
    _DROP_ONE_TIME,
    _PRUNE_CLAIMED,
    _SET_FALLBACK,
    _USE_FALLBACK,
    _DROP_FALLBACK,
    _WITHDRAW,
)

_COUNTED_ALWAYS = "signed_curve25519"


def upload(  # noqa: PLR0917 - a step: the ledger passes what it is given in order
    change: Change,
    user: UserId,
    device: DeviceId,
    device_keys: dict[str, Any] | None,
    one_time_keys: Mapping[str, Any],
    fallback_keys: Mapping[str, Any],
) -> bool:
    """Store what a device publishes of itself; uploading the same again changes nothing.

    `one_time_keys` maps `algorithm:key_id` to key; so does `fallback_keys`, one an algorithm.

    Returns:
        Whether the identity keys are new or other than before: then the caller tells everybody.

    Raises:
        InvalidParamError: the keys name another user or device, or a key id is in use for another key.
        TooLargeError: more than `MAX_ONE_TIME_KEYS_PER_UPLOAD` keys at once.
    """
    if len(one_time_keys) + len(fallback_keys) > MAX_ONE_TIME_KEYS_PER_UPLOAD:
        raise TooLargeError(f"at most {MAX_ONE_TIME_KEYS_PER_UPLOAD} keys can be uploaded at once")
    number = change.intern(user)
    changed = device_keys is not None and _set_keys(change, number, user, device, device_keys)
    for name, key in sorted(one_time_keys.items()):
        _add_one_time(change, number, device, _split(name), _stored(key))
    for name, key in sorted(fallback_keys.items()):
        _set_fallback(change, number, device, _split(name), _stored(key))
    if one_time_keys:
        _prune_claimed(change, number, device)
    return changed


def counts(index: Index, user: UserId, device: DeviceId) -> dict[str, int]:
    """Return how many one-time keys nobody claimed yet, by algorithm; the usual algorithm is always named.

    Where they were withdrawn it is 1: matrix-nio takes 0 for no news, and would never upload any again.
    """
    rows = index.rows(
        "SELECT algorithm, SUM(claimed = 0), MIN(claimed) FROM one_time_keys WHERE user = ? AND device = ?"
        " AND claimed <= 0 GROUP BY algorithm ORDER BY algorithm",
        index.find(user),
        device,
    )
    return {_COUNTED_ALWAYS: 0, **{algorithm: unclaimed or int(least < 0) for algorithm, unclaimed, least in rows}}


def unused_fallback_types(index: Index, user: UserId, device: DeviceId) -> list[str]:
    """Return the algorithms whose fallback key was not given out yet."""
    rows = index.rows(
        "SELECT algorithm FROM fallback_keys WHERE user = ? AND device = ? AND used = 0 ORDER BY algorithm",
        index.find(user),
        device,
    )
    return [algorithm for (algorithm,) in rows]


def keys_of(index: Index, user: UserId, devices: Iterable[DeviceId] = ()) -> dict[DeviceId, dict[str, Any]]:
    """Return the identity keys as uploaded, by device; of all devices when none is named."""
    wanted = set(devices)
    rows = index.rows("SELECT device, keys FROM device_keys WHERE user = ? ORDER BY device", index.find(user))
    return {DeviceId(device): unpack(keys) for device, keys in rows if not wanted or device in wanted}


def claim_local(
    change: Change, wanted: Mapping[UserId, Mapping[DeviceId, str]]
) -> dict[UserId, dict[DeviceId, dict[str, Any]]]:
    """Give out one key of the named algorithm a device: a one-time key once and never again, else the fallback key.

    Returns:
        user -> device -> {`algorithm:key_id`: key}; devices without any key are left out.
    """
    given: dict[UserId, dict[DeviceId, dict[str, Any]]] = {}
    for user, by_device in wanted.items():
        number = change.find(user)
        for device, algorithm in by_device.items():
            key = None if number is None else _claim(change, number, device, algorithm)
            if key is not None:
                given.setdefault(user, {})[device] = key
    return given


def drop_device(change: Change, user: int, device: DeviceId) -> bool:
    """Forget all keys of a device; return whether it had identity keys."""
    had = change.row("SELECT 1 FROM device_keys WHERE user = ? AND device = ?", user, device) is not None
    change.write(_DROP_KEYS, user, device)
    change.write(_DROP_ONE_TIME, user, device)
    change.write(_DROP_FALLBACK, user, device)
    key_signatures.drop_target(change, user, device)
    return had


def drop_claims(change: Change, user: int, device: DeviceId, before: int) -> None:
    """Forget the names of keys that were claimed before a position."""
    change.write(_PRUNE_CLAIMED, user, device, before)


def withdraw_one_time(change: Change) -> None:
    """Give no one-time key of now out any more: this box came from a backup, and somebody may have had them since.

    The apps see that none are left and upload new ones; fallback keys stay.
    """
    change.write(_WITHDRAW)


def _set_keys(change: Change, number: int, user: UserId, device: DeviceId, keys: dict[str, Any]) -> bool:
    if keys.get("user_id") != user or keys.get("device_id") != device:
        raise InvalidParamError("device_keys name another user or device than the access token")
    if not isinstance(keys.get("keys"), dict) or not isinstance(keys.get("algorithms"), list):
        raise InvalidParamError("device_keys have no keys or no algorithms")
    keys = {name: value for name, value in keys.items() if name != "unsigned"}
    stored = change.value("SELECT keys FROM device_keys WHERE user = ? AND device = ?", number, device)
    if stored == _stored(keys):
        return False
    if stored is not None and unpack(stored)["keys"] != keys["keys"]:
        # Signed by an identity that is gone: nobody could use them.
        change.write(_DROP_ONE_TIME, number, device)
        change.write(_DROP_FALLBACK, number, device)
        key_signatures.drop_target(change, number, device)
    change.write(_SET_KEYS, number, device, _stored(keys))
    return True


def _add_one_time(change: Change, user: int, device: DeviceId, name: tuple[str, str], key: bytes) -> None:
    algorithm, key_id = name
    row = change.row(
        "SELECT key, claimed FROM one_time_keys WHERE user = ? AND device = ? AND algorithm = ? AND key_id = ?",
        user,
        device,
        algorithm,
        key_id,
    )
    if row is None:
        change.write(_ADD_ONE_TIME, user, device, algorithm, key_id, key, change.position)
    elif not row[1] and unpack(row[0]) != unpack(key):
        raise InvalidParamError(f"a one-time key {algorithm}:{key_id} exists already, with another value")


def _set_fallback(change: Change, user: int, device: DeviceId, name: tuple[str, str], key: bytes) -> None:
    algorithm, key_id = name
    stored = change.row(
        "SELECT key_id, key FROM fallback_keys WHERE user = ? AND device = ? AND algorithm = ?", user, device, algorithm
    )
    if stored != (key_id, key):
        change.write(_SET_FALLBACK, user, device, algorithm, key_id, key)


def _claim(change: Change, user: int, device: DeviceId, algorithm: str) -> dict[str, Any] | None:
    row = change.row(
        "SELECT key_id, key FROM one_time_keys WHERE user = ? AND device = ? AND algorithm = ? AND claimed = 0"
        " ORDER BY position, key_id LIMIT 1",
        user,
        device,
        algorithm,
    )
    if row is not None:
        change.write(_CLAIM, change.position, user, device, algorithm, row[0])
        return {f"{algorithm}:{row[0]}": unpack(row[1])}
    row = change.row(
        "SELECT key_id, key, used FROM fallback_keys WHERE user = ? AND device = ? AND algorithm = ?",
        user,
        device,
        algorithm,
    )
    if row is None:
        return None
    if not row[2]:
        change.write(_USE_FALLBACK, user, device, algorithm)
    return {f"{algorithm}:{row[0]}": unpack(row[1])}


def _prune_claimed(change: Change, user: int, device: DeviceId) -> None:
    oldest_kept = change.value(
        "SELECT claimed FROM one_time_keys WHERE user = ? AND device = ? AND claimed > 0"
        " ORDER BY claimed DESC LIMIT 1 OFFSET ?",
        user,
        device,
        MAX_CLAIMED_KEY_IDS_PER_DEVICE,
    )
    if oldest_kept is not None:
        drop_claims(change, user, device, oldest_kept)


def _split(name: str) -> tuple[str, str]:
    algorithm, colon, key_id = name.partition(":")
    if not colon or not algorithm or not key_id:
        raise InvalidParamError("a one-time key is not named algorithm:key_id")
    return algorithm, key_id


def _stored(key: object) -> bytes:
    if not isinstance(key, dict | str):
        raise InvalidParamError("a key is neither an object nor a text")
    return pack(key)
