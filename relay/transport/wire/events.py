"""What both HTTP machines say, and the interface that hides which of them speaks.

Rules: a machine never waits and never reads a clock; bytes may arrive in pieces of any size; every limit a peer can run
into ends in `WireError`, with the goodbye already queued in `take`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from relay.base.errors import InvalidInputError

Header = tuple[bytes, bytes]


class WireError(InvalidInputError):
    """The peer broke the protocol or a limit; the connection ends after what `take` still holds.

    Attributes:
        reason: one word for the log, never from the peer.
    """

    code = "wire.malformed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StreamGoneError(Exception):
    """We wrote to a stream that the peer has reset or whose connection is going down: nobody reads any more."""


@dataclasses.dataclass(slots=True)
class RequestHead:
    """A request began; `ended` means it has no body."""

    stream: int
    method: str
    target: str
    headers: list[Header]
    ended: bool


@dataclasses.dataclass(slots=True)
class ResponseHead:
    """A final response began; `ended` means it has no body."""

    stream: int
    status: int
    headers: list[Header]
    ended: bool


@dataclasses.dataclass(slots=True)
class BodyPiece:
    """Part of a body. `held_bytes` go back through `Wire.consumed`, or the peer will stop sending."""

    stream: int
    data: bytes
    held_bytes: int


@dataclasses.dataclass(slots=True)
class BodyEnd:
    """The body is complete."""

    stream: int


@dataclasses.dataclass(slots=True)
class StreamReset:
    """The peer gave up on one stream; `untouched` means it promises not to have acted on it."""

    stream: int
    untouched: bool


@dataclasses.dataclass(slots=True)
class RoomGrew:
    """Flow control lets more be sent: on one stream, or on all of them (0)."""

    stream: int


@dataclasses.dataclass(slots=True)
class GoingAway:
    """The peer takes no new streams; those above `last_stream` were not touched."""

    last_stream: int


Event = RequestHead | ResponseHead | BodyPiece | BodyEnd | StreamReset | RoomGrew | GoingAway


class Wire(Protocol):
    """One connection's machine, in either role."""

    multiplexed: bool
    """Whether several exchanges run at once."""

    def receive(self, data: bytes, now_s: float) -> list[Event]:
        """Return what `data` means; `b""` says that the peer ended the connection.

        Raises:
            WireError: the peer broke the protocol or a limit.
        """
        ...

    def proceed(self) -> list[Event]:
        """Return the events that waited for the last exchange to end (HTTP/1.1 pipelining).

        Raises:
            WireError: as `receive`.
        """
        ...

    def take(self) -> bytes:
        """Return and forget the bytes to be written."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """How many bytes wait in `take`."""
        ...

    @property
    def wants_input(self) -> bool:
        """False while more input would have to be buffered beyond the bound."""
        ...

    @property
    def head_pending(self) -> bool:
        """Whether part of a head has arrived, and its rest has not; bodies have their own patience."""
        ...

    @property
    def open_for_more(self) -> bool:
        """Whether another exchange can follow on this connection."""
        ...

    @property
    def most_streams(self) -> int:
        """How many exchanges the peer lets us run at once."""
        ...

    def request(self, method: str, target: str, headers: Sequence[Header], *, ended: bool) -> int:
        """Queue the head of a request, `host` among its headers; return its stream."""
        ...

    def allow_body(self, stream: int) -> None:
        """Queue `100 Continue` if the peer waits for one."""
        ...

    def respond(self, stream: int, status: int, headers: Sequence[Header], *, ended: bool) -> None:
        """Queue the head of a response.

        Raises:
            StreamGoneError: nobody reads this stream any more.
        """
        ...

    def send(self, stream: int, data: memoryview, *, ended: bool) -> int:
        """Queue as much of `data` as flow control allows now, and the end with its last byte; return how much.

        With all of `data` queued and `ended`, the end is queued too.

        Raises:
            StreamGoneError: nobody reads this stream any more.
        """
        ...

    def consumed(self, stream: int, held_bytes: int) -> None:
        """Give back what a `BodyPiece` held: the peer may send as much again."""
        ...

    def reset(self, stream: int, *, refused: bool = False) -> None:
        """Give up on one stream; on HTTP/1.1 that is the connection."""
        ...

    def time_out(self) -> None:
        """Queue the goodbye to a peer that was too slow with a head or body."""
        ...

    def close(self) -> None:
        """Announce that no new exchange will be taken; those begun may finish."""
        ...
