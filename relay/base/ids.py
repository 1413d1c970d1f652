"""Names as types: made once at the door by a `parse_` function, trusted inside.

Grammar: Matrix specification v1.19, Appendices, "Identifier Grammar".
"""

import ipaddress
import re
from typing import NewType

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_ID_BYTES

ServerName = NewType("ServerName", str)
UserId = NewType("UserId", str)
RoomId = NewType("RoomId", str)
RoomAlias = NewType("RoomAlias", str)
EventId = NewType("EventId", str)
DeviceId = NewType("DeviceId", str)
KeyId = NewType("KeyId", str)
MediaId = NewType("MediaId", str)

_DNS_NAME = re.compile(r"[0-9A-Za-z.-]{1,255}")
_PORT = re.compile(r"[0-9]{1,5}")
_LOCAL_USER = re.compile(r"[a-z0-9._=/+-]+")
# Any non-empty localpart without a colon or NUL: the historical grammar that servers must accept from each other.
_REMOTE_USER = re.compile(r"[^:\x00]+")
_OPAQUE = re.compile(r"[^:\x00]+")
_HASH_ROOM = re.compile(r"[A-Za-z0-9_-]{43}")


def parse_server_name(text: str) -> ServerName:
    """Return `text` as a server name: DNS name, IPv4 or [IPv6], with an optional port.

    Raises:
        InvalidInputError: it does not fit "Server Name" of the identifier grammar.
    """
    host, port = split_server_name(text)
    if port is not None and not 0 < port < 65536:
        raise InvalidInputError(f"server name has port {port}")
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise InvalidInputError("server name holds a malformed IPv6 address") from None
    elif not _DNS_NAME.fullmatch(host):
        raise InvalidInputError("server name holds characters outside A-Z a-z 0-9 . -")
    return ServerName(text)


def split_server_name(text: str) -> tuple[str, int | None]:
    """Return (host, port or None); an IPv6 host keeps its brackets.

    Raises:
        InvalidInputError: the port is not a number, or a bracket is left open.
    """
    if text.startswith("["):
        host, closing, rest = text.partition("]")
        host += closing
        if not closing or (rest and not rest.startswith(":")):
            raise InvalidInputError("server name holds a malformed IPv6 address")
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.partition(":")
    if not colon:
        return host, None
    if not _PORT.fullmatch(port):
        raise InvalidInputError("server name has a port that is not a number")
    return host, int(port)


def host_of(server: str) -> str:
    """Return the host of a server name in lower case, an IPv6 address without its brackets."""
    return split_server_name(server)[0].strip("[]").lower()


def _split(text: str, sigil: str, what: str) -> tuple[str, str]:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise InvalidInputError(f"{what} is longer than {MAX_ID_BYTES} bytes")
    if not text.startswith(sigil):
        raise InvalidInputError(f"{what} does not start with {sigil}")
    local, colon, server = text[1:].partition(":")
    if not colon:
        raise InvalidInputError(f"{what} has no server name")
    return local, server


def parse_user_id(text: str) -> UserId:
    """Return `text` as a user id, historical localparts included.

    Raises:
        InvalidInputError: it does not fit "User Identifiers".
    """
    local, server = _split(text, "@", "user id")
    if local and not _REMOTE_USER.fullmatch(local):
        raise InvalidInputError("user id has a localpart with forbidden characters")
    parse_server_name(server)
    return UserId(text)


def make_user_id(localpart: str, server: ServerName) -> UserId:
    """Return the id of a user of this box; only the strict grammar is allowed for new users.

    Raises:
        InvalidInputError: the localpart has characters outside a-z 0-9 . _ = - / + or the id is too long.
    """
    if not _LOCAL_USER.fullmatch(localpart):
        raise InvalidInputError("a user name may hold a-z 0-9 . _ = - / + and nothing else")
    return parse_user_id(f"@{localpart}:{server}")


def parse_room_id(text: str) -> RoomId:
    """Return `text` as a room id: `!opaque:server`, or `!hash` as room version 12 has it.

    Raises:
        InvalidInputError: it fits neither form.
    """
    if text.startswith("!") and _HASH_ROOM.fullmatch(text[1:]):
        return RoomId(text)
    local, server = _split(text, "!", "room id")
    if not _OPAQUE.fullmatch(local):
        raise InvalidInputError("room id has an empty or malformed localpart")
    parse_server_name(server)
    return RoomId(text)


def parse_room_alias(text: str) -> RoomAlias:
    """Return `text` as a room alias.

    Raises:
        InvalidInputError: it does not fit "Room Aliases".
    """
    local, server = _split(text, "#", "room alias")
    if not _OPAQUE.fullmatch(local):
        raise InvalidInputError("room alias has an empty or malformed localpart")
    parse_server_name(server)
    return RoomAlias(text)


def parse_event_id(text: str) -> EventId:
    """Return `text` as an event id of room versions 4 and later: `$` and 43 characters of URL-safe base64.

    Raises:
        InvalidInputError: it has another form.
    """
    if not (text.startswith("$") and _HASH_ROOM.fullmatch(text[1:])):
        raise InvalidInputError("event id is not $ and 43 characters of URL-safe base64")
    return EventId(text)


def server_of(identifier: UserId | RoomAlias | RoomId) -> ServerName:
    """Return the server part of an id; a version 12 room id has none.

    Raises:
        InvalidInputError: the id has no server part.
    """
    _, colon, server = identifier.partition(":")
    if not colon:
        raise InvalidInputError("this id has no server part")
    return ServerName(server)
