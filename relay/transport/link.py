"""The client's side of one connection: requests out, responses in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import trio

from relay.base.errors import UnreachableError
from relay.base.limits import IDLE_CLIENT_CONNECTION_TIMEOUT_S
from relay.transport.pump import Channel, Pump
from relay.transport.wire.events import (
    BodyEnd,
    BodyPiece,
    Event,
    Header,
    ResponseHead,
    RoomGrew,
    StreamGoneError,
    StreamReset,
    Wire,
    WireError,
)

_CLOSE_S = 1.0


class Call(Channel):
    """One request on its way, and its response."""

    __slots__ = ("head",)

    def __init__(self, pump: Pump, stream: int) -> None:
        super().__init__(pump, stream, ended=False)
        self.head: ResponseHead | None = None


class BrokenCallError(UnreachableError):
    """The connection ended before the response did.

    Attributes:
        untouched: the peer certainly did not act on the request.
    """

    code = "peer.connection_lost"

    def __init__(self, *, untouched: bool = False) -> None:
        super().__init__("the connection was lost before the answer was complete")
        self.untouched = untouched


class Link:
    """One connection to a peer; calls end with `end`, whatever happened to them.

    Args:
        released: called whenever a call might fit that did not before, or the link is over.
    """

    def __init__(
        self, stream: trio.abc.Stream, wire: Wire, nursery: trio.Nursery, released: Callable[[], None]
    ) -> None:
        self._pump = Pump(stream, wire, nursery)
        self._wire = wire
        self._calls: dict[int, Call] = {}
        self._released = released
        self.over = False
        self.idle_since_s = trio.current_time()

    @property
    def free(self) -> bool:
        """Whether another call fits now."""
        working = not self.over and not self._pump.broken and self._wire.open_for_more
        return working and len(self._calls) < self._wire.most_streams

    @property
    def multiplexed(self) -> bool:
        """Whether it carries several calls at once."""
        return self._wire.multiplexed

    @property
    def idle(self) -> bool:
        """Whether it carries no call."""
        return not self._calls

    def begin(self, method: str, target: str, headers: Sequence[Header], *, ended: bool) -> Call:
        """Start a call; the link must be free, and `end` must follow.

        Raises:
            BrokenCallError: the connection is over; nothing was sent.
        """
        if self.over or self._pump.broken:
            raise BrokenCallError(untouched=True)
        try:
            stream = self._wire.request(method, target, headers, ended=ended)
        except StreamGoneError:
            raise BrokenCallError(untouched=True) from None
        call = Call(self._pump, stream)
        self._calls[stream] = call
        self._set_deadline()
        self._pump.kick()
        return call

    def end(self, call: Call) -> None:
        """Take a call off; an unfinished one is given up, which on HTTP/1.1 ends the connection."""
        if self._calls.pop(call.stream, None) is None:
            return
        if not call.ended or call.gone:
            self._wire.reset(call.stream)
            self._pump.kick()
        while call.take_piece() is not None:
            pass
        self._wire.proceed()
        if not self._wire.open_for_more and not self._calls:
            self._pump.reading.cancel()
        self._set_deadline()
        self._pump.look_again()
        self._released()

    def drop(self) -> None:
        """End the connection now."""
        self._pump.fail()

    async def run(self) -> None:
        """Read responses until either side ends the connection; raises nothing but `trio.Cancelled`."""
        try:
            with self._pump.reading:
                self._set_deadline()
                self._pump.kick()
                await self._read()
        finally:
            self.over = True
            for call in self._calls.values():
                call.lose()
            self._released()
            with trio.move_on_after(_CLOSE_S, shield=True):
                await trio.aclose_forcefully(self._pump.stream)

    async def _read(self) -> None:
        while self._wire.open_for_more or self._calls:
            data = await self._pump.receive()
            try:
                self._act_on(self._wire.receive(data, trio.current_time()))
            except WireError:
                return
            if not data:
                return
            await self._pump.written()

    def _act_on(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RoomGrew) and not event.stream:
                for call in self._calls.values():
                    call.wake()
                self._released()
                continue
            found = self._calls.get(getattr(event, "stream", 0))
            if found is None:
                continue
            if isinstance(event, ResponseHead):
                found.head = event
                found.ended = event.ended
                found.wake()
            elif isinstance(event, BodyPiece):
                found.feed(event.data, event.held_bytes)
            elif isinstance(event, BodyEnd):
                found.end()
            elif isinstance(event, StreamReset):
                found.lose(untouched=event.untouched)
            else:
                found.wake()

    def _set_deadline(self) -> None:
        self.idle_since_s = trio.current_time()
        end_s = self.idle_since_s + IDLE_CLIENT_CONNECTION_TIMEOUT_S
        self._pump.reading.deadline = end_s if self.idle else math.inf
