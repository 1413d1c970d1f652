"""DNS messages as multicast DNS uses them: bytes to questions and records, and back.

Source: RFC 1035, section 4.1 (format, compression); RFC 6762, section 18 (header fields, the top bit of a class);
RFC 2782 (SRV); RFC 4034, section 4.1 (NSEC). Rdata is held without compression, so that it can be compared.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_MDNS_BYTES, MAX_MDNS_RECORDS

A, PTR, TXT, AAAA, SRV, NSEC, ANY = 1, 12, 16, 28, 33, 47, 255
IN = 1
_TOP = 0x8000
_RESPONSE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x0400, 0x0200
# Opcode and response code: other messages are ignored (RFC 6762, sections 18.3 and 18.11).
_OTHER = 0x780F
_HEADER_BYTES = 12
_RECORDS_A_TOKEN, _BYTES_A_TOKEN = 16, 1024
_POINTER = 0xC0
_PLACES = 1 << 14
_MOST_LABEL_BYTES, _MOST_NAME_BYTES = 63, 255
# As many as labels fit in a name: a chain of nothing but pointers would be walked anew by each name that enters it.
_MOST_POINTERS = 127
# How many bytes of rdata stand before a name in it.
_NAME_AFTER = {PTR: 0, SRV: 6, NSEC: 0}

Name = tuple[bytes, ...]


class DnsMessageError(InvalidInputError):
    """A datagram is no DNS message."""

    code = "input.dns_message"


class Question(NamedTuple):
    """What somebody asks; `unicast` is the QU bit."""

    name: Name
    kind: int
    unicast: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One resource record of class IN; `flush` is the cache-flush bit: there are no others of this name and kind."""

    name: Name
    kind: int
    data: bytes
    ttl_s: int
    flush: bool = False

    @property
    def same(self) -> tuple[Name, int, bytes]:
        """What makes two records one, whatever their time to live."""
        return lower(self.name), self.kind, self.data


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One datagram."""

    response: bool = False
    truncated: bool = False
    number: int = 0
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()
    additionals: tuple[Record, ...] = ()


def lower(name: Name) -> Name:
    """Return the form of a name that is compared: case does not count in ASCII."""
    return tuple(label.lower() for label in name)


def pack_name(name: Name) -> bytes:
    """Return a name without compression."""
    return b"".join(bytes([len(label)]) + label for label in name) + b"\0"


def pack_message(message: Message) -> bytes:
    """Return a message as bytes; owners' names are compressed, those in rdata are not."""
    flags = (_RESPONSE | _AUTHORITATIVE if message.response else 0) | (_TRUNCATED if message.truncated else 0)
    sections = (message.answers, message.authorities, message.additionals)
    counts = (len(message.questions), *map(len, sections))
    out = bytearray(b"".join(number.to_bytes(2) for number in (message.number, flags, *counts)))
    seen: dict[Name, int] = {}
    for question in message.questions:
        _append_name(out, seen, question.name)
        out += question.kind.to_bytes(2) + (IN | (_TOP if question.unicast else 0)).to_bytes(2)
    for record in (record for section in sections for record in section):
        _append_name(out, seen, record.name)
        out += record.kind.to_bytes(2) + (IN | (_TOP if record.flush else 0)).to_bytes(2)
        out += record.ttl_s.to_bytes(4) + len(record.data).to_bytes(2) + record.data
    return bytes(out)


def _append_name(out: bytearray, seen: dict[Name, int], name: Name) -> None:
    for start in range(len(name)):
        known = seen.get(name[start:])
        if known is not None:
            out += (_POINTER << 8 | known).to_bytes(2)
            return
        if len(out) < _PLACES:
            seen[name[start:]] = len(out)
        out += bytes([len(name[start])]) + name[start]
    out += b"\0"


def cost(data: bytes) -> float:
    """Return what it takes to read a datagram and to think about it, in those of an everyday question."""
    records = sum(int.from_bytes(data[place : place + 2]) for place in range(4, _HEADER_BYTES, 2))
    return 1 + min(records, MAX_MDNS_RECORDS) / _RECORDS_A_TOKEN + len(data) / _BYTES_A_TOKEN


def read_message(data: bytes) -> Message:
    """Return the message in a datagram; records of other classes are left out.

    Raises:
        DnsMessageError: it is malformed, larger than `MAX_MDNS_BYTES`, or no standard query or good response.
    """
    if not _HEADER_BYTES <= len(data) <= MAX_MDNS_BYTES:
        raise DnsMessageError(f"a DNS message of {len(data)} bytes")
    number, flags, *counts = (int.from_bytes(data[place : place + 2]) for place in range(0, _HEADER_BYTES, 2))
    if flags & _OTHER or sum(counts) > MAX_MDNS_RECORDS:
        raise DnsMessageError("a DNS message that is no query and no response, or of too many records")
    reader = _Reader(data, _HEADER_BYTES)
    questions = [reader.question() for _ in range(counts[0])]
    answers, authorities, additionals = (
        tuple(record for record in [reader.record() for _ in range(count)] if record is not None)
        for count in counts[1:]
    )
    return Message(
        response=bool(flags & _RESPONSE),
        truncated=bool(flags & _TRUNCATED),
        number=number,
        questions=tuple(question for question in questions if question is not None),
        answers=answers,
        authorities=authorities,
        additionals=additionals,
    )


class _Reader:
    """Reads on from a place in a message."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place

    def question(self) -> Question | None:
        name, kind, klass = self._owner()
        if klass & ~_TOP not in (IN, ANY):
            return None
        return Question(name, kind, unicast=bool(klass & _TOP))

    def record(self) -> Record | None:
        name, kind, klass = self._owner()
        ttl_s, length = self._number(4), self._number(2)
        start, self._place = self._place, self._place + length
        if self._place > len(self._data):
            raise DnsMessageError("a DNS message that ends within a record")
        if klass & ~_TOP != IN:
            return None
        return Record(name, kind, self._plain(kind, start, self._place), ttl_s, flush=bool(klass & _TOP))

    def _owner(self) -> tuple[Name, int, int]:
        name, self._place = self.name(self._place)
        return name, self._number(2), self._number(2)

    def _number(self, size: int) -> int:
        start, self._place = self._place, self._place + size
        if self._place > len(self._data):
            raise DnsMessageError("a DNS message that ends too early")
        return int.from_bytes(self._data[start : self._place])

    def _plain(self, kind: int, start: int, end: int) -> bytes:
        """Return rdata with the name in it written out."""
        before = _NAME_AFTER.get(kind)
        if before is None:
            return self._data[start:end]
        name, after = self.name(start + before)
        if after > end:
            raise DnsMessageError("a name that is longer than its record")
        return self._data[start : start + before] + pack_name(name) + self._data[after:end]

    def name(self, place: int) -> tuple[Name, int]:
        """Return the name at `place`, and the place after it. Pointers lead backward only, so there is an end."""
        labels: list[bytes] = []
        size, after, least, pointers = 1, -1, place, 0
        while True:
            length = self._byte(place)
            if length >= _POINTER:
                target = (length & ~_POINTER) << 8 | self._byte(place + 1)
                after = place + 2 if after < 0 else after
                pointers += 1
                if target >= least or pointers > _MOST_POINTERS:
                    raise DnsMessageError("a name that points forward, or back too often")
                place = least = target
                continue
            if not length:
                return tuple(labels), place + 1 if after < 0 else after
            label = self._data[place + 1 : place + 1 + length]
            size += 1 + length
            if length > _MOST_LABEL_BYTES or len(label) < length or size > _MOST_NAME_BYTES:
                raise DnsMessageError("a name that is too long, or cut off")
            labels.append(label)
            place += 1 + length

    def _byte(self, place: int) -> int:
        if place >= len(self._data):
            raise DnsMessageError("a DNS message that ends within a name")
        return self._data[place]
