"""The NATS client protocol: bytes in, what the server says out; and the lines that a client sends.

Source: the NATS documentation, "Client Protocol", and ADR-4, "NATS Message Headers". A control line ends with CRLF; MSG
and HMSG are followed by as many bytes as their line says and another CRLF. Names of operations are case-insensitive,
fields are divided by any run of spaces and tabs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import orjson

from relay.base.errors import InvalidInputError, UnreachableError
from relay.base.limits import MAX_NATS_LINE_BYTES, MAX_NATS_MESSAGE_BYTES

PING = b"PING\r\n"
PONG = b"PONG\r\n"
_END = b"\r\n"
_VERSION = b"NATS/1.0"
_STATUS = re.compile(rb"NATS/1\.0(?:[ \t]+([0-9]{3})(?:[ \t]+([^\r\n]*))?)?")
_SIZE = re.compile(rb"[0-9]{1,10}")
_SUBJECT = re.compile(r"[\x21-\x29\x2b-\x2d\x2f-\x3d\x3f-\x7e]+(?:\.[\x21-\x29\x2b-\x2d\x2f-\x3d\x3f-\x7e]+)*")
_PATTERN = re.compile(r"[\x21-\x7e]+")
_HEADER_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


class NatsProtocolError(UnreachableError):
    """The server said what the NATS protocol does not know, or more than is taken; the connection is over."""

    code = "peer.nats_malformed"


@dataclasses.dataclass(frozen=True, slots=True)
class Info:
    """What the server is and wants; it may come again at any time."""

    options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message of a subscription.

    Attributes:
        sid: the number of the subscription.
        status: the status of a message that is an answer of the server itself (503: nobody there), else 0.
        headers: names as they were sent; a name may come twice.
    """

    subject: str
    sid: str
    reply: str
    payload: bytes
    status: int = 0
    description: str = ""
    headers: Sequence[tuple[str, str]] = ()

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None where there is none; the case of its name counts."""
        return next((value for known, value in self.headers if known == name), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Ping:
    """The server asks whether we are there: `PONG` is the answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pong:
    """The server's answer to a `PING`: it has read everything before."""


@dataclasses.dataclass(frozen=True, slots=True)
class Okay:
    """`+OK`, which only comes where CONNECT asked for it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """`-ERR`: the server's words, without the quotes around them."""

    text: str


Event = Info | Message | Ping | Pong | Okay | Refusal

_BARE: Mapping[bytes, Event] = {b"PING": Ping(), b"PONG": Pong(), b"+OK": Okay()}


@dataclasses.dataclass(slots=True)
class _Head:
    """A message whose payload is still coming."""

    subject: str
    sid: str
    reply: str
    header_bytes: int
    total_bytes: int


class NatsReader:
    """Reads what a server sends. After an error every further call raises it again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._head: _Head | None = None
        self._fault: str | None = None

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes of an unfinished operation are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """Return what `data` completes, in order.

        Raises:
            NatsProtocolError: it is not the NATS protocol, or over a limit.
        """
        if self._fault is not None:
            raise NatsProtocolError(self._fault)
        self._buffer += data
        events: list[Event] = []
        while (event := self._next()) is not None:
            events.append(event)
        return events

    def _next(self) -> Event | None:
        if self._head is not None:
            return self._read_message(self._head)
        end = self._buffer.find(_END, self._searched)
        if end > MAX_NATS_LINE_BYTES or (end < 0 and len(self._buffer) > MAX_NATS_LINE_BYTES):
            self._fail(f"a line of more than {MAX_NATS_LINE_BYTES} bytes")
        if end < 0:
            # A CR may wait for its LF.
            self._searched = max(len(self._buffer) - 1, 0)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END)]
        self._searched = 0
        return self._read_line(line)

    def _read_line(self, line: bytes) -> Event | None:
        name, _, rest = line.replace(b"\t", b" ").partition(b" ")
        operation = name.upper()
        if operation in (b"MSG", b"HMSG"):
            return self._begin(rest.split(), with_headers=operation == b"HMSG")
        if operation == b"-ERR":
            return Refusal(rest.strip().strip(b"'").decode("utf-8", "replace"))
        if operation == b"INFO":
            return self._read_info(rest)
        if operation not in _BARE:
            self._fail("an operation that the protocol does not know")
        return _BARE[operation]

    def _read_info(self, text: bytes) -> Info:
        try:
            options = orjson.loads(text)
        except orjson.JSONDecodeError:
            options = None
        if not isinstance(options, dict):
            self._fail("an INFO that is no JSON object")
        return Info(options)

    def _begin(self, words: list[bytes], *, with_headers: bool) -> Event | None:
        sizes = 2 if with_headers else 1
        if len(words) not in (2 + sizes, 3 + sizes) or not all(map(_SIZE.fullmatch, words[-sizes:])):
            self._fail("a message whose line is malformed")
        total_bytes = int(words[-1])
        header_bytes = int(words[-2]) if with_headers else 0
        if total_bytes > MAX_NATS_MESSAGE_BYTES or header_bytes > total_bytes:
            self._fail(f"a message of {total_bytes} bytes; {MAX_NATS_MESSAGE_BYTES} are taken")
        try:
            subject, sid, reply = (word.decode() for word in (words[0], words[1], *(words[2:-sizes] or [b""])))
        except UnicodeDecodeError:
            self._fail("a subject that is not UTF-8")
        head = self._head = _Head(subject, sid, reply, header_bytes if with_headers else -1, total_bytes)
        return self._read_message(head)

    def _read_message(self, head: _Head) -> Event | None:
        if len(self._buffer) < head.total_bytes + len(_END):
            return None
        content = bytes(self._buffer[: head.total_bytes])
        if self._buffer[head.total_bytes : head.total_bytes + len(_END)] != _END:
            self._fail("a message that is longer than its line says")
        del self._buffer[: head.total_bytes + len(_END)]
        self._head = None
        if head.header_bytes < 0:
            return Message(head.subject, head.sid, head.reply, content)
        status, description, headers = self._read_headers(content[: head.header_bytes])
        payload = content[head.header_bytes :]
        return Message(head.subject, head.sid, head.reply, payload, status, description, headers)

    def _read_headers(self, block: bytes) -> tuple[int, str, list[tuple[str, str]]]:
        first, *lines = block.removesuffix(_END).removesuffix(_END).split(_END)
        version = _STATUS.fullmatch(first.rstrip())
        if version is None or not block.endswith(_END + _END):
            self._fail("headers that are malformed")
        headers = []
        for line in lines:
            name, colon, value = line.decode("utf-8", "replace").partition(":")
            if not colon or not name:
                self._fail("headers that are malformed")
            headers.append((name, value.strip(" \t")))
        return int(version[1] or 0), (version[2] or b"").decode("utf-8", "replace").strip(), headers

    def _fail(self, what: str) -> NoReturn:
        self._fault = f"the NATS server sent {what}"
        self._buffer.clear()
        raise NatsProtocolError(self._fault)


def connect(options: Mapping[str, Any]) -> bytes:
    """Return the line that answers the server's first INFO."""
    return b"CONNECT " + orjson.dumps(options) + _END


def subscribe(subject: str, sid: str) -> bytes:
    """Return the line that subscribes to `subject`, in which wildcards may stand."""
    return f"SUB {_checked(_PATTERN, subject)} {_checked(_PATTERN, sid)}\r\n".encode()


def publish(subject: str, payload: bytes, *, reply: str = "", headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the message: `PUB`, or `HPUB` where there are headers.

    Raises:
        InvalidInputError: a subject, name or value holds what the protocol does not allow.
    """
    words = [_checked(_SUBJECT, subject), *([_checked(_SUBJECT, reply)] if reply else [])]
    if not headers:
        return b"PUB %s %d\r\n%s\r\n" % (" ".join(words).encode(), len(payload), payload)
    lines = [f"{_checked(_HEADER_NAME, name)}: {_checked(_HEADER_VALUE, value)}" for name, value in headers]
    block = b"\r\n".join([_VERSION, *(line.encode() for line in lines), b"", b""])
    sizes = len(block), len(block) + len(payload)
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (" ".join(words).encode(), *sizes, block, payload)


def _checked(form: re.Pattern[str], text: str) -> str:
    if not form.fullmatch(text):
        raise InvalidInputError("a NATS subject, number or header holds what the protocol does not allow")
    return text
