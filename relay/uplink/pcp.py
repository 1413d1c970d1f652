"""The Port Control Protocol: requests as bytes, responses as records. TCP mappings only.

Source: RFC 6887: section 7.1 (request header), 7.2 (response header), 7.4 (result codes), 11.1 (MAP). Addresses are of
128 bits, IPv4 ones mapped (section 5).
"""

import dataclasses
import ipaddress

VERSION = 2
NONCE_BYTES = 12
_MAP = 1
_RESPONSE = 0x80
_TCP = 6
_HEADER_BYTES = 24
_MAP_BYTES = 60
_MOST_BYTES = 1100

RESULTS = (
    "SUCCESS",
    "UNSUPP_VERSION",
    "NOT_AUTHORIZED",
    "MALFORMED_REQUEST",
    "UNSUPP_OPCODE",
    "UNSUPP_OPTION",
    "MALFORMED_OPTION",
    "NETWORK_FAILURE",
    "NO_RESOURCES",
    "UNSUPP_PROTOCOL",
    "USER_EX_QUOTA",
    "CANNOT_PROVIDE_EXTERNAL",
    "ADDRESS_MISMATCH",
    "EXCESSIVE_REMOTE_PEERS",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MapResponse:
    """What a server answered.

    Attributes:
        result: its name in RFC 6887, section 7.4.
        lifetime_s: of the mapping; of the error where it is one.
        epoch_s: since the server last forgot its mappings.
        external_address: an IP address, an IPv4 one in its own form; empty in an error.
    """

    result: str
    lifetime_s: int
    epoch_s: int
    nonce: bytes
    internal_port: int
    external_port: int
    external_address: str


def map_request(
    *, client: str, nonce: bytes, internal_port: int, external_port: int, external_address: str, lifetime_s: int
) -> bytes:
    """Return a MAP request; a lifetime of 0 deletes the mapping (section 15.1).

    Args:
        client: our own address, which the server compares with the sender's.
        nonce: 12 bytes, the same for as long as the mapping lives.
        internal_port: where we listen.
        external_port: what we would like, 0 for any.
        external_address: what we would like, empty for any.
        lifetime_s: how long it should stay without being renewed.
    """
    wanted = external_address or ("::" if ":" in client else "0.0.0.0")  # noqa: S104 - nobody listens there
    if not lifetime_s:
        external_port, wanted = 0, "::"
    header = bytes([VERSION, _MAP, 0, 0]) + lifetime_s.to_bytes(4) + _pack(client)
    ports = internal_port.to_bytes(2) + external_port.to_bytes(2)
    return header + nonce + bytes([_TCP, 0, 0, 0]) + ports + _pack(wanted)


def read_response(data: bytes) -> MapResponse | None:
    """Return the response in a datagram; None where it is none that a client reads (section 8.3)."""
    if not _HEADER_BYTES <= len(data) <= _MOST_BYTES or len(data) % 4:
        return None
    if data[0] != VERSION or data[1] != _RESPONSE | _MAP or len(data) < _MAP_BYTES or data[36] != _TCP:
        return None
    code = data[3]
    return MapResponse(
        result=RESULTS[code] if code < len(RESULTS) else f"result {code}",
        lifetime_s=int.from_bytes(data[4:8]),
        epoch_s=int.from_bytes(data[8:12]),
        nonce=data[24:36],
        internal_port=int.from_bytes(data[40:42]),
        external_port=int.from_bytes(data[42:44]),
        external_address="" if code else _unpack(data[44:60]),
    )


def refuses_version(data: bytes) -> bool:
    """Return whether a datagram says that its sender does not speak version 2: then NAT-PMP is tried.

    Either form counts: that of PCP (section 9) and that of NAT-PMP (RFC 6886, section 3.5), whose version is 0.
    """
    if len(data) < 8 or data[1] & _RESPONSE == 0:
        return False
    return int.from_bytes(data[2:4]) == 1 if data[0] == 0 else data[0] != VERSION and data[3] == 1


def _pack(address: str) -> bytes:
    found = ipaddress.ip_address(address)
    return found.packed if found.version == 6 else bytes(10) + b"\xff\xff" + found.packed


def _unpack(packed: bytes) -> str:
    found = ipaddress.IPv6Address(packed)
    return str(found.ipv4_mapped or found)
