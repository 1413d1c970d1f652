"""Cross-signing keys of people here and elsewhere, and the signatures that bind them to devices and to each other.

Client-server API, "Cross-signing".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from relay.base.errors import (
    ForbiddenError,
    InvalidInputError,
    InvalidParamError,
    MissingParamError,
    NotFoundError,
    RelayError,
)
from relay.base.ids import DeviceId, UserId
from relay.core.matrix import canonical_json
from relay.core.matrix.signing import check_signature, parse_verify_key
from relay.household import device_keys, devices, key_signatures
from relay.household.faults import InvalidSignatureError
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS cross_signing_keys (
        user INTEGER NOT NULL, usage TEXT NOT NULL, public TEXT NOT NULL, key BLOB NOT NULL,
        PRIMARY KEY (user, usage)) WITHOUT ROWID""",
)
_SET = Operation(
    350,
    "INSERT INTO cross_signing_keys (user, usage, public, key) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (user, usage) DO UPDATE SET public = excluded.public, key = excluded.key",
)
_DROP = Operation(351, "DELETE FROM cross_signing_keys WHERE user = ? AND usage = ?")
_ERASE = Operation(352, "DELETE FROM cross_signing_keys WHERE user = ?")
OPERATIONS = (_SET, _DROP, _ERASE)

Usage = Literal["master", "self_signing", "user_signing"]
USAGES: tuple[Usage, ...] = ("master", "self_signing", "user_signing")


@dataclass(slots=True)
class Signed:
    """What became of uploaded signatures.

    Attributes:
        failures: user -> key id -> the error, for each that was not taken.
        own: names of the signer's own devices and master key that carry a new signature: everybody is told.
        others: other people whose master key the signer signed now: only the signer's devices are told.
    """

    failures: dict[str, dict[str, RelayError]] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    others: list[UserId] = field(default_factory=list)


def needs_authentication(index: Index, user: UserId, keys: Mapping[Usage, dict[str, Any]]) -> bool:
    """Return whether storing `keys` replaces something, which needs the password again.

    A first upload does not, and the same keys again do not: their answer may have been lost.
    """
    if stored_key(index, user, "master") is None:
        return False
    return "master" not in keys or any(
        _public_of(key, user, usage) != _stored_public(index, user, usage) for usage, key in keys.items()
    )


def upload_keys(change: Change, user: UserId, keys: Mapping[Usage, dict[str, Any]]) -> bool:
    """Store a person's cross-signing keys; a new master key takes the keys it did not sign with it.

    Returns:
        Whether anything changed: then the caller tells everybody.

    Raises:
        InvalidParamError: a key has not the form of its usage.
        InvalidSignatureError: a key is not signed by the master key.
        MissingParamError: there is no master key, in the request or stored.
        ForbiddenError: a key is named like one of the person's devices.
    """
    publics = {usage: _public_of(key, user, usage) for usage, key in keys.items()}
    if any(devices.exists(change, user, DeviceId(public)) for public in publics.values()):
        raise ForbiddenError("a key id is in use by a device")
    _check_master_signed(keys.get("master") or stored_key(change, user, "master"), user, keys)
    changed = {usage for usage in USAGES if usage in publics and publics[usage] != _stored_public(change, user, usage)}
    number = change.intern(user)
    if "master" in changed:
        for usage in USAGES:
            if usage not in publics and stored_key(change, user, usage) is not None:
                _drop(change, number, user, usage)
    for usage in USAGES:
        if usage in changed:
            _drop(change, number, user, usage)
            change.write(_SET, number, usage, publics[usage], pack(keys[usage]))
    return bool(changed)


def store_remote(change: Change, user: UserId, keys: Mapping[Usage, dict[str, Any]]) -> bool:
    """Store what another server says are its user's keys; malformed ones are left out. Return whether any is new."""
    changed = False
    number = change.intern(user)
    for usage, key in keys.items():
        try:
            public, stored = _public_of(key, user, usage), pack(key)
        except InvalidInputError:
            continue
        if stored != change.value("SELECT key FROM cross_signing_keys WHERE user = ? AND usage = ?", number, usage):
            change.write(_SET, number, usage, public, stored)
            changed = True
    return changed


def erase(change: Change, user: UserId) -> bool:
    """Forget a person's keys: the account is gone. Return whether there were any."""
    had = stored_key(change, user, "master") is not None
    number = change.intern(user)
    for usage in USAGES:
        if stored_key(change, user, usage) is not None:
            _drop(change, number, user, usage)
    change.write(_ERASE, number)
    return had


def stored_key(index: Index, user: UserId, usage: Usage) -> dict[str, Any] | None:
    """Return a key as uploaded, without what others signed since; None for none."""
    stored = index.value("SELECT key FROM cross_signing_keys WHERE user = ? AND usage = ?", index.find(user), usage)
    return None if stored is None else dict(unpack(stored))


def keys_of(index: Index, user: UserId, asking: UserId | None) -> dict[Usage, dict[str, Any]]:
    """Return the keys of `user` that `asking` may see (None: another server), with the signatures it may see."""
    visible: dict[Usage, dict[str, Any]] = {}
    for usage in USAGES:
        key = stored_key(index, user, usage)
        if key is not None and (usage != "user_signing" or asking == user):
            public = _stored_public(index, user, usage)
            visible[usage] = key_signatures.with_signatures(index, user, public or "", asking, key)
    return visible


def add_signatures(change: Change, user: UserId, uploads: Mapping[UserId, Mapping[str, Any]]) -> Signed:
    """Store signatures `user` made: on own devices, on the own master key, on other people's master keys.

    `uploads` is owner -> device id or public key -> the signed object.
    """
    outcome = Signed()
    for owner, objects in uploads.items():
        for name, signed in objects.items():
            try:
                if not _sign(change, user, owner, name, signed):
                    continue
            except RelayError as error:
                outcome.failures.setdefault(owner, {})[name] = error
                continue
            if owner == user:
                outcome.own.append(name)
            elif owner not in outcome.others:
                outcome.others.append(owner)
    return outcome


def _sign(change: Change, user: UserId, owner: UserId, name: str, signed: object) -> bool:
    target = _target(change, owner, name, own=owner == user)
    if not isinstance(signed, dict) or _signed_bytes(signed) != _signed_bytes(target):
        raise InvalidSignatureError("the signed object is not the key that is known here")
    offered = _mapping(_mapping(signed.get("signatures")).get(user))
    known = _mapping(_mapping(target.get("signatures")).get(user))
    data, added, checked, refused = _signed_bytes(signed), False, False, not offered
    for signer_key, signature in offered.items():
        public = _signer_public(change, user, owner, name, signer_key)
        if public is None:
            # The object carries its old signatures along; only one that nobody can check and nobody knew is a fault.
            refused = refused or signer_key not in known
            continue
        check_signature(data, signature, parse_verify_key(public))
        added = key_signatures.add(change, owner, name, user, signer_key, signature) or added
        checked = True
    if refused and not checked:
        raise InvalidSignatureError("no signature by a key that may sign this")
    return added


def _target(index: Index, owner: UserId, name: str, *, own: bool) -> dict[str, Any]:
    if _stored_public(index, owner, "master") == name:
        key = stored_key(index, owner, "master")
    else:
        key = device_keys.keys_of(index, owner).get(DeviceId(name)) if own else None
    if key is None:
        raise NotFoundError("no such key")
    return key


def _signer_public(index: Index, user: UserId, owner: UserId, name: str, signer_key: str) -> str | None:
    """Return the public key `signer_key` stands for, if it is one that may sign this target."""
    _, _, key_name = signer_key.partition(":")
    if owner != user:
        return key_name if key_name == _stored_public(index, user, "user_signing") else None
    if _stored_public(index, user, "master") != name:
        return key_name if key_name == _stored_public(index, user, "self_signing") else None
    own_device = device_keys.keys_of(index, user).get(DeviceId(key_name))
    if own_device is not None:
        public = _mapping(own_device.get("keys")).get(signer_key)
        return public if isinstance(public, str) else None
    return key_name if key_name == name else None


def _check_master_signed(master: dict[str, Any] | None, user: UserId, keys: Mapping[Usage, dict[str, Any]]) -> None:
    if master is None:
        raise MissingParamError("there is no master key")
    public = _public_of(master, user, "master")
    for usage, key in keys.items():
        if usage == "master":
            continue
        signature = _mapping(_mapping(key.get("signatures")).get(user)).get(f"ed25519:{public}")
        try:
            check_signature(_signed_bytes(key), signature, parse_verify_key(public))
        except RelayError:
            raise InvalidSignatureError(f"the {usage} key is not signed by the master key") from None


def _public_of(key: Mapping[str, Any], user: UserId, usage: Usage) -> str:
    named = key.get("keys")
    if key.get("user_id") != user or not isinstance(key.get("usage"), list) or usage not in key["usage"]:
        raise InvalidParamError(f"the {usage} key names another user or another usage")
    if not isinstance(named, dict) or len(named) != 1:
        raise InvalidParamError(f"the {usage} key does not hold exactly one key")
    ((name, public),) = named.items()
    if not isinstance(public, str) or name != f"ed25519:{public}":
        raise InvalidParamError(f"the {usage} key is not named ed25519: and itself")
    parse_verify_key(public)
    return public


def _stored_public(index: Index, user: UserId, usage: Usage) -> str | None:
    public: str | None = index.value(
        "SELECT public FROM cross_signing_keys WHERE user = ? AND usage = ?", index.find(user), usage
    )
    return public


def _drop(change: Change, number: int, user: UserId, usage: Usage) -> None:
    public = _stored_public(change, user, usage)
    if public is not None:
        key_signatures.drop_signer(change, number, f"ed25519:{public}")
        change.write(_DROP, number, usage)


def _signed_bytes(key: Mapping[str, Any]) -> bytes:
    return canonical_json.encode_lenient(
        {name: value for name, value in key.items() if name not in ("signatures", "unsigned")}
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
