"""The first message of a TLS connection: which name is asked for, and which protocols are offered.

Source: RFC 8446, 5.1 (records) and 4.1.2 (ClientHello); RFC 6066, 3 (server_name); RFC 7301, 3.1 (ALPN).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from relay.base.limits import MAX_CLIENT_HELLO_BYTES
from relay.transport.wire.events import WireError

_CLIENT_HELLO = 1
_RECORD_HEAD = 5
_MESSAGE_HEAD = 4
_MOST_IN_RECORD = 1 << 14
_VERSION_AND_RANDOM = 2 + 32
_SERVER_NAME = 0
_HOST_NAME = 0
_ALPN = 16


class NoClientHelloError(WireError):
    """The connection does not begin with a ClientHello, or with one that is malformed or longer than the limit."""

    code = "wire.no_client_hello"


@dataclasses.dataclass(frozen=True, slots=True)
class ClientHello:
    """What is read of it.

    Attributes:
        server_name: the host name asked for, in lower case; empty where there is none.
        protocols: the application protocols offered, in order.
    """

    server_name: str
    protocols: tuple[bytes, ...]


def read_client_hello(data: bytes) -> ClientHello | None:
    """Return the ClientHello that `data` begins with, however it is divided into records; None while bytes lack.

    Raises:
        NoClientHelloError: it begins with something else.
    """
    message = bytearray()
    at = 0
    while True:
        if (wanted := _length(message)) is not None and len(message) >= wanted:
            return _parse(bytes(message[_MESSAGE_HEAD:wanted]))
        head = data[at : at + _RECORD_HEAD]
        if head[:1] not in (b"", b"\x16") or head[1:2] not in (b"", b"\x03"):
            raise NoClientHelloError("no_handshake")
        if len(head) < _RECORD_HEAD:
            return None
        length = int.from_bytes(head[3:5], "big")
        if not 0 < length <= _MOST_IN_RECORD:
            raise NoClientHelloError("record_length")
        message += data[at + _RECORD_HEAD : at + _RECORD_HEAD + length]
        at += _RECORD_HEAD + length


def _length(message: bytearray) -> int | None:
    """Return how long the message is with its head, None while that cannot be told."""
    if message and message[0] != _CLIENT_HELLO:
        raise NoClientHelloError("other_message")
    if len(message) < _MESSAGE_HEAD:
        return None
    length = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD], "big")
    if length > MAX_CLIENT_HELLO_BYTES:
        raise NoClientHelloError("too_long")
    return length


def _parse(body: bytes) -> ClientHello:
    try:
        _, rest = _cut(body, _VERSION_AND_RANDOM)
        for width in (1, 2, 1):
            # Session id, cipher suites, compression methods.
            _, rest = _vector(rest, width)
        extensions = _extensions(rest)
        name = _server_name(extensions.get(_SERVER_NAME))
        protocols = _protocols(extensions.get(_ALPN))
    except UnicodeDecodeError:
        raise NoClientHelloError("malformed") from None
    return ClientHello(name, protocols)


def _extensions(data: bytes) -> dict[int, bytes]:
    if not data:
        return {}
    block, rest = _vector(data, 2)
    if rest:
        raise NoClientHelloError("trailing_bytes")
    found: dict[int, bytes] = {}
    while block:
        kind, block = _cut(block, 2)
        content, block = _vector(block, 2)
        number = int.from_bytes(kind, "big")
        if number in found:
            raise NoClientHelloError("extension_twice")
        found[number] = content
    return found


def _server_name(data: bytes | None) -> str:
    if data is None:
        return ""
    names, rest = _vector(data, 2)
    if rest or not names:
        raise NoClientHelloError("server_name")
    kind, names = _cut(names, 1)
    name, rest = _vector(names, 2)
    if kind[0] != _HOST_NAME or not name or rest:
        raise NoClientHelloError("server_name")
    return name.decode("ascii").lower()


def _protocols(data: bytes | None) -> tuple[bytes, ...]:
    if data is None:
        return ()
    names, rest = _vector(data, 2)
    protocols = tuple(_names(names))
    if rest or not protocols or b"" in protocols:
        raise NoClientHelloError("protocols")
    return protocols


def _names(data: bytes) -> Iterator[bytes]:
    while data:
        name, data = _vector(data, 1)
        yield name


def _cut(data: bytes, count: int) -> tuple[bytes, bytes]:
    if len(data) < count:
        raise NoClientHelloError("cut_short")
    return data[:count], data[count:]


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    """Return what a vector with a length of `width` bytes in front holds, and what follows it."""
    length, rest = _cut(data, width)
    return _cut(rest, int.from_bytes(length, "big"))
