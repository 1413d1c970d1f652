"""The NAT Port Mapping Protocol, which PCP grew out of: requests as bytes, responses as records. TCP mappings only.

Source: RFC 6886: section 3.2 (external address), 3.3 (mappings), 3.4 (deletion), 3.5 (result codes).
"""

import dataclasses
import ipaddress

_EXTERNAL, _MAP_TCP = 0, 2
_RESPONSE = 128

RESULTS = (
    "Success",
    "Unsupported Version",
    "Not Authorized/Refused",
    "Network Failure",
    "Out of resources",
    "Unsupported opcode",
)

EXTERNAL_ADDRESS_REQUEST = bytes([0, _EXTERNAL])


@dataclasses.dataclass(frozen=True, slots=True)
class ExternalAddress:
    """The router's address outside; empty in an error."""

    result: str
    epoch_s: int
    address: str


@dataclasses.dataclass(frozen=True, slots=True)
class Mapped:
    """One mapping; the ports and the lifetime are 0 in an error that says no more."""

    result: str
    epoch_s: int
    internal_port: int
    external_port: int
    lifetime_s: int


def map_request(internal_port: int, external_port: int, lifetime_s: int) -> bytes:
    """Return a request for a TCP mapping; a lifetime of 0 deletes it, and then no external port is named."""
    ports = internal_port.to_bytes(2) + (external_port if lifetime_s else 0).to_bytes(2)
    return bytes([0, _MAP_TCP, 0, 0]) + ports + lifetime_s.to_bytes(4)


def read_response(data: bytes) -> ExternalAddress | Mapped | None:
    """Return the response in a datagram, None where it is none."""
    if len(data) < 8 or data[0] != 0:
        return None
    code, epoch_s = int.from_bytes(data[2:4]), int.from_bytes(data[4:8])
    result = RESULTS[code] if code < len(RESULTS) else f"result {code}"
    if data[1] == _RESPONSE | _EXTERNAL and (code or len(data) >= 12):
        return ExternalAddress(result, epoch_s, "" if code else str(ipaddress.IPv4Address(data[8:12])))
    if data[1] == _RESPONSE | _MAP_TCP and (code or len(data) >= 16):
        numbers = data[8:16] if len(data) >= 16 else bytes(8)
        ports = int.from_bytes(numbers[:2]), int.from_bytes(numbers[2:4])
        return Mapped(result, epoch_s, *ports, int.from_bytes(numbers[4:]))
    return None
