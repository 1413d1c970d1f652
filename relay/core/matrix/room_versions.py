"""What differs between room versions, as frozen flags. Source: Matrix specification v1.19, "Room Versions"."""

import dataclasses
from typing import Final

from relay.base.errors import InvalidInputError


class UnsupportedRoomVersionError(InvalidInputError):
    """This box does not know the room version."""

    code = "room.unsupported_version"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RoomVersion:
    """The rules of one room version. Every flag names the version that introduced it."""

    id: str
    room_id_is_hash: bool = False
    """12: the room id is the create event's id with another sigil, and events do not cite the create event."""
    creators_are_supreme: bool = False
    """12: creators, additional ones included, have infinite power and stand in no power levels event."""
    resolves_from_empty: bool = False
    """12: state resolution v2.1."""
    creator_is_sender: bool = True
    """11: `content.creator` of the create event is gone."""
    redacts_in_content: bool = True
    """11: `redacts` of a redaction stands in its content."""
    redaction_rules_of_11: bool = True
    """11: redaction keeps more content and fewer top-level keys."""
    integer_levels: bool = True
    """10: power levels are integers, no longer strings of digits."""
    knock_restricted_joins: bool = True
    """10: the join rule `knock_restricted`."""
    redaction_keeps_voucher: bool = True
    """9: redaction keeps `join_authorised_via_users_server`."""
    restricted_joins: bool = True
    """8: the join rule `restricted`; redaction keeps `allow`."""
    knocking: bool = True
    """7: the membership and the join rule `knock`."""


_V10: Final = RoomVersion(id="10", creator_is_sender=False, redacts_in_content=False, redaction_rules_of_11=False)
_V9: Final = dataclasses.replace(_V10, id="9", integer_levels=False, knock_restricted_joins=False)
_V8: Final = dataclasses.replace(_V9, id="8", redaction_keeps_voucher=False)
_V7: Final = dataclasses.replace(_V8, id="7", restricted_joins=False)
_V6: Final = dataclasses.replace(_V7, id="6", knocking=False)
_V11: Final = RoomVersion(id="11")
_V12: Final = RoomVersion(id="12", room_id_is_hash=True, creators_are_supreme=True, resolves_from_empty=True)

SUPPORTED: Final = {version.id: version for version in (_V6, _V7, _V8, _V9, _V10, _V11, _V12)}
"""The versions this box takes part in, by id."""

DEFAULT: Final = SUPPORTED["12"]
"""The version of rooms made here."""

RECOGNISED: Final = frozenset(str(number) for number in range(1, 13))
"""Every version the specification defines; a create event may name them."""


def room_version(text: object) -> RoomVersion:
    """Return the rules of a room version.

    Raises:
        UnsupportedRoomVersionError: this box does not take part in such rooms.
    """
    version = SUPPORTED.get(text) if isinstance(text, str) else None
    if version is None:
        raise UnsupportedRoomVersionError("this room version is not supported here")
    return version
