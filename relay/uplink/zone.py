"""What the box says of itself by multicast DNS: its names, and the records that follow from them.

Source: RFC 6763, sections 4 (PTR and instance names), 5 (SRV), 6 (TXT), 9 (types), 12 (what else to tell);
RFC 6762, sections 6.1 (negative answers), 9 (another name after a conflict), 10 (times to live).
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator, Sequence

from relay.uplink.dns_message import AAAA, ANY, NSEC, PTR, SRV, TXT, A, Name, Record, lower, pack_name

HOST_TTL_S, OTHER_TTL_S = 120, 4500
_LOCAL = b"local"
_TYPES: Name = (b"_services", b"_dns-sd", b"_udp", _LOCAL)
_MOST_LABEL_BYTES = 63
_MOST_STRING_BYTES = 255


@dataclasses.dataclass(frozen=True, slots=True)
class Service:
    """One service, such as `_doorstep`, over TCP; `texts` are `key=value`, the most important first."""

    kind: str
    port: int
    texts: tuple[str, ...] = ()


class Names:
    """The host and instance names of the box on all its interfaces; a conflict moves them on everywhere.

    Attributes:
        version: grows with every change.
    """

    def __init__(self, host: str, instance: str) -> None:
        self._host, self._instance = host, instance
        self._host_number = self._instance_number = 1
        self.version = 0

    @property
    def host(self) -> Name:
        """The name that addresses are found under: `box.local`, `box-2.local`."""
        return (_numbered(self._host, self._host_number, "-{}"), _LOCAL)

    @property
    def instance(self) -> bytes:
        """The label that services are shown under: `box.example`, `box.example (2)`."""
        return _numbered(self._instance, self._instance_number, " ({})")

    def change_host(self) -> None:
        """Take the next host name: somebody else has this one."""
        self._host_number += 1
        self.version += 1

    def change_instance(self) -> None:
        """Take the next instance name."""
        self._instance_number += 1
        self.version += 1


def _numbered(text: str, number: int, form: str) -> bytes:
    tail = form.format(number) if number > 1 else ""
    # Cut in the middle of a character, it would be no text any more.
    head = text.encode()[: _MOST_LABEL_BYTES - len(tail)].decode("utf-8", "ignore")
    return (head + tail).encode()


@dataclasses.dataclass(frozen=True, slots=True)
class Zone:
    """The records of the box on one interface.

    Attributes:
        unique: those that nobody else may have; probed for.
        shared: those that others add to.
    """

    host: Name
    instances: tuple[Name, ...]
    unique: tuple[Record, ...]
    shared: tuple[Record, ...]

    def answers(self, name: Name, kind: int) -> list[Record]:
        """Return the records that answer a question: where there is none of a kind under a name of ours, that fact."""
        asked = lower(name)
        found = [
            record
            for record in (*self.shared, *self.unique)
            if lower(record.name) == asked and kind in (record.kind, ANY)
        ]
        if found or kind == ANY or asked not in self._owners():
            return found
        return [self._absence(name)]

    def beside(self, record: Record) -> Iterator[Record]:
        """Return what whoever gets `record` is going to ask for next."""
        if record.kind == PTR:
            for other in self.unique:
                if pack_name(other.name) == record.data:
                    yield other
        if record.kind in (PTR, SRV) and record.name != _TYPES:
            yield from (other for other in self.unique if other.kind in (A, AAAA))

    def _owners(self) -> set[Name]:
        return {lower(record.name) for record in self.unique}

    def _absence(self, name: Name) -> Record:
        kinds = sorted({record.kind for record in self.unique if lower(record.name) == lower(name)})
        bits = bytearray(kinds[-1] // 8 + 1)
        for kind in kinds:
            bits[kind // 8] |= 0x80 >> kind % 8
        data = pack_name(name) + bytes([0, len(bits)]) + bytes(bits)
        return Record(name, NSEC, data, HOST_TTL_S, flush=True)


def make_zone(names: Names, services: Sequence[Service], addresses: Sequence[str]) -> Zone:
    """Return the records of `services` at `addresses`."""
    host = names.host
    unique = [_address(host, address) for address in addresses]
    shared, instances = [], []
    for service in services:
        kind: Name = (service.kind.encode(), b"_tcp", _LOCAL)
        instance: Name = (names.instance, *kind)
        instances.append(instance)
        place = bytes(4) + service.port.to_bytes(2) + pack_name(host)
        unique.append(Record(instance, SRV, place, HOST_TTL_S, flush=True))
        unique.append(Record(instance, TXT, _strings(service.texts), OTHER_TTL_S, flush=True))
        shared.append(Record(kind, PTR, pack_name(instance), OTHER_TTL_S))
        shared.append(Record(_TYPES, PTR, pack_name(kind), OTHER_TTL_S))
    return Zone(host, tuple(instances), tuple(unique), tuple(shared))


def _address(host: Name, address: str) -> Record:
    found = ipaddress.ip_address(address)
    return Record(host, A if found.version == 4 else AAAA, found.packed, HOST_TTL_S, flush=True)


def _strings(texts: Sequence[str]) -> bytes:
    packed = [text.encode()[:_MOST_STRING_BYTES] for text in texts]
    # A TXT record without any string holds an empty one (RFC 6763, section 6.1).
    return b"".join(bytes([len(text)]) + text for text in packed) or b"\0"
