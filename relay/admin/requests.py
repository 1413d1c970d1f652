"""What a local operator may ask of a box: a small closed set, typed, with one wire form.

The wire form is a JSON object `{"verb": ..., field: ...}`, its fields named as in the class.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from relay.admin import moving
from relay.base.errors import InvalidInputError, MissingParamError
from relay.base.limits import MAX_ADMIN_LINE_BYTES, MAX_MOVING_FIELD_BYTES, MAX_NAME_BYTES, MAX_PASSWORD_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """What runs and what is queued."""


@dataclasses.dataclass(frozen=True, slots=True)
class Doctor:
    """What is wrong and what to do next."""


@dataclasses.dataclass(frozen=True, slots=True)
class AddUser:
    """Make an account for somebody at home."""

    name: str
    password: str = dataclasses.field(repr=False)
    admin: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ListUsers:
    """Who lives here."""


@dataclasses.dataclass(frozen=True, slots=True)
class SetPassword:
    """Give a user a new password; her devices are signed out."""

    name: str
    password: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class DeactivateUser:
    """Close an account for good; its name is never given again."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class CreateInvite:
    """Make a single-use invitation to join the household."""


@dataclasses.dataclass(frozen=True, slots=True)
class CreateBackup:
    """Write a backup into a pipe.

    Attributes:
        key: the key of the archive, 32 bytes in hexadecimal: what it is made of stays with whoever asks.
        parameters: what the archive says of that key, in hexadecimal.
        since_last: only what changed since the last backup that was kept; everything where there was none.
        descriptor: the pipe, handed over beside the request; whoever asks closes it.
    """

    key: str = dataclasses.field(repr=False)
    parameters: str
    since_last: bool = False
    descriptor: int = dataclasses.field(default=-1, metadata={"handed": True})


@dataclasses.dataclass(frozen=True, slots=True)
class ShowStandbyKey:
    """What opens the copy that follows to another place; made by the first who asks."""


@dataclasses.dataclass(frozen=True, slots=True)
class CheckOwner:
    """Say whether this is the password of somebody who looks after the box; whoever asks counts the tries."""

    password: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class GivePassphrase:
    """Give a box the passphrase that it waits for; it is proof enough of who asks."""

    passphrase: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Restart:
    """Stop cleanly and start again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """Stop cleanly and stay stopped."""


Request = (
    Status
    | Doctor
    | AddUser
    | ListUsers
    | SetPassword
    | DeactivateUser
    | CreateInvite
    | CreateBackup
    | ShowStandbyKey
    | CheckOwner
    | GivePassphrase
    | Restart
    | Stop
    | moving.MovingRequest
)

VERBS: dict[str, type[Request]] = {
    "status": Status,
    "doctor": Doctor,
    "user_add": AddUser,
    "user_list": ListUsers,
    "user_passwd": SetPassword,
    "user_deactivate": DeactivateUser,
    "invite_create": CreateInvite,
    "backup_create": CreateBackup,
    "standby_key": ShowStandbyKey,
    "owner_password": CheckOwner,
    "passphrase": GivePassphrase,
    "restart": Restart,
    "stop": Stop,
    **moving.VERBS,
}
_MAX_BYTES = {
    "name": MAX_NAME_BYTES,
    "password": MAX_PASSWORD_BYTES,
    "passphrase": MAX_PASSWORD_BYTES,
    "room": MAX_NAME_BYTES,
    "target": MAX_NAME_BYTES,
    "after": MAX_MOVING_FIELD_BYTES,
    "secrets": MAX_MOVING_FIELD_BYTES,
    "card": MAX_MOVING_FIELD_BYTES,
    "records": MAX_ADMIN_LINE_BYTES,
    "key": 64,
    "parameters": 128,
}


def parse_request(fields: Mapping[str, Any], descriptor: int | None = None) -> Request:
    """Return the request that `fields` spell, with the open file that was handed over beside them.

    Raises:
        InvalidInputError: the verb or a field is unknown, of the wrong type, empty or too long.
        MissingParamError: a field without a default is absent.
    """
    verb = fields.get("verb")
    kind = VERBS.get(verb) if isinstance(verb, str) else None
    if kind is None:
        raise InvalidInputError(f"there is no such verb; known are {', '.join(VERBS)}")
    types = get_type_hints(kind)
    given = {name: value for name, value in fields.items() if name != "verb"}
    handed = {field.name for field in dataclasses.fields(kind) if field.metadata.get("handed")}
    unknown = sorted(given.keys() - (types.keys() - handed))
    if unknown:
        raise InvalidInputError(f"{verb} takes no {', '.join(unknown)[:100]}")
    for field in dataclasses.fields(kind):
        if field.name not in given:
            if field.default is dataclasses.MISSING:
                raise MissingParamError(f"{verb} needs {field.name}")
            continue
        _check(field.name, given[field.name], types[field.name])
    if handed and descriptor is None:
        raise MissingParamError(f"{verb} needs an open file handed over with it")
    return kind(**given, **dict.fromkeys(handed, descriptor))


def _check(name: str, value: object, kind: type) -> None:
    if type(value) is not kind:
        raise InvalidInputError(f"{name} must be {kind.__name__}")
    if isinstance(value, str):
        size = len(value.encode("utf-8", "surrogatepass"))
        if not 0 < size <= _MAX_BYTES[name]:
            raise InvalidInputError(f"{name} has {size} bytes; it may have 1 to {_MAX_BYTES[name]}")
