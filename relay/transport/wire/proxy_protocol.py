"""The PROXY protocol, version 2: the address of a peer, told by the proxy that took its connection.

Source: HAProxy's "The PROXY protocol", section 2.2. A binary header stands before everything else: a signature of 12
bytes, version and command, family and protocol, the length of what follows, addresses, and TLVs, which are passed over.
"""

import dataclasses
import ipaddress
from typing import NamedTuple

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_PROXY_HEADER_BYTES

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_BYTES = 16
_VERSION = 2
_LOCAL, _PROXY = 0, 1
_FAMILIES, _PROTOCOLS = range(4), range(3)


class ProxyHeaderError(InvalidInputError):
    """A connection did not begin as a trusted proxy's has to."""

    code = "input.proxy_header"


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What the proxy said.

    Attributes:
        source: the IP address it speaks for, an IPv4 one in its own form; empty where it speaks for itself.
        length_bytes: of the header: the peer's own bytes follow.
    """

    source: str
    length_bytes: int


class _Layout(NamedTuple):
    """Where the source stands among the addresses of one family and protocol: how long it is, and all of them."""

    source_bytes: int
    block_bytes: int


# TCP over IPv4 and over IPv6. Of anybody else the header tells no address that would mean something here.
_LAYOUTS = {0x11: _Layout(4, 12), 0x21: _Layout(16, 36)}


def read_proxy_header(ahead: bytes | bytearray) -> ProxyHeader | None:
    """Return the header at the beginning of `ahead`, None while more of it has to come.

    Raises:
        ProxyHeaderError: these bytes are not the beginning of one, or it is longer than `MAX_PROXY_HEADER_BYTES`.
    """
    if not SIGNATURE.startswith(ahead[: len(SIGNATURE)]):
        raise ProxyHeaderError("no PROXY protocol header of version 2")
    if len(ahead) < _FIXED_BYTES:
        return None
    version, command = ahead[12] >> 4, ahead[12] & 15
    family, protocol = ahead[13] >> 4, ahead[13] & 15
    if version != _VERSION or command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"a PROXY protocol header of version {version} with command {command}")
    if family not in _FAMILIES or protocol not in _PROTOCOLS:
        raise ProxyHeaderError(f"a PROXY protocol header of family {family} and protocol {protocol}")
    length = _FIXED_BYTES + int.from_bytes(ahead[14:16])
    if length > MAX_PROXY_HEADER_BYTES:
        raise ProxyHeaderError(f"a PROXY protocol header of {length} bytes; {MAX_PROXY_HEADER_BYTES} are read")
    layout = _LAYOUTS.get(ahead[13]) if command == _PROXY else None
    if layout is not None and length < _FIXED_BYTES + layout.block_bytes:
        raise ProxyHeaderError("a PROXY protocol header that is shorter than its addresses")
    # "The receiver must not start to parse an address before the whole address block is received."
    if len(ahead) < length:
        return None
    if layout is None:
        return ProxyHeader("", length)
    return ProxyHeader(_address(bytes(ahead[_FIXED_BYTES : _FIXED_BYTES + layout.source_bytes])), length)


def _address(packed: bytes) -> str:
    found = ipaddress.ip_address(packed)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)
