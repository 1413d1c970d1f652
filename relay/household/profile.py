"""What a person shows of themselves: name, picture, and the free fields of v1.16.

Client-server API, "Profiles".
"""

import re
from typing import Any

from relay.base.errors import InvalidParamError
from relay.base.ids import UserId
from relay.base.limits import MAX_ID_BYTES, MAX_PROFILE_BYTES
from relay.household.faults import ProfileKeyTooLargeError, ProfileTooLargeError
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS profiles (
        user INTEGER NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (user, field)) WITHOUT ROWID""",
)
_PUT = Operation(
    390,
    "INSERT INTO profiles (user, field, value) VALUES (?, ?, ?)"
    " ON CONFLICT (user, field) DO UPDATE SET value = excluded.value",
)
_DROP = Operation(391, "DELETE FROM profiles WHERE user = ? AND field = ?")
_ERASE = Operation(392, "DELETE FROM profiles WHERE user = ?")
OPERATIONS = (_PUT, _DROP, _ERASE)

IN_MEMBER_EVENTS = frozenset({"displayname", "avatar_url"})
"""Fields that rooms show: the door refreshes the person's member events when one changes."""

_FIELD = re.compile(r"avatar_url|displayname|m\.tz|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


def get(index: Index, user: UserId) -> dict[str, Any]:
    """Return every field that is set."""
    rows = index.rows("SELECT field, value FROM profiles WHERE user = ? ORDER BY field", index.find(user))
    return {field: unpack(value) for field, value in rows}


def put(change: Change, user: UserId, field: str, value: object) -> bool:
    """Set a field; return whether it is another value than before.

    Raises:
        InvalidParamError: the field's name or value is not one the specification allows.
        ProfileKeyTooLargeError: the name is longer than 255 bytes.
        ProfileTooLargeError: the whole profile would be 64 KiB or more.
    """
    check_field(field)
    if field in ("displayname", "avatar_url", "m.tz") and not isinstance(value, str):
        raise InvalidParamError(f"{field} is not a text")
    before = get(change, user)
    if field in before and before[field] == value:
        return False
    if len(pack({**before, field: value})) >= MAX_PROFILE_BYTES:
        raise ProfileTooLargeError(f"a profile has to stay under {MAX_PROFILE_BYTES} bytes")
    change.write(_PUT, change.intern(user), field, pack(value))
    return True


def remove(change: Change, user: UserId, field: str) -> bool:
    """Unset a field; return whether it was set.

    Raises:
        InvalidParamError, ProfileKeyTooLargeError: as `put`.
    """
    check_field(field)
    if field not in get(change, user):
        return False
    change.write(_DROP, change.intern(user), field)
    return True


def erase(change: Change, user: UserId) -> None:
    """Forget the whole profile."""
    change.write(_ERASE, change.intern(user))


def check_field(field: str) -> None:
    """Let pass a field name of the "Common Namespaced Identifier Grammar".

    Raises:
        InvalidParamError, ProfileKeyTooLargeError: as `put`.
    """
    if len(field.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise ProfileKeyTooLargeError(f"the name of a profile field may have at most {MAX_ID_BYTES} bytes")
    if not _FIELD.fullmatch(field):
        raise InvalidParamError("this is not the name of a profile field")
