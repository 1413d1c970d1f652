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


SUPPORTED: Final = {
    version.id: version
    for version in (
        RoomVersion(id="10", creator_is_sender=False, redacts_in_content=False, redaction_rules_of_11=False),
        RoomVersion(id="11"),
        RoomVersion(id="12", room_id_is_hash=True, creators_are_supreme=True, resolves_from_empty=True),
    )
}
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
