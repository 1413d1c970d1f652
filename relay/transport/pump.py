"""Moves bytes between one stream and one wire, and pieces of bodies between a wire and those who read and write them.

Shared by both roles. Rules: only `flush` and `kick` write to the stream, one task at a time; a task that may be
cancelled for its own reasons never writes (half a TLS record would end the connection for everybody on it): it kicks.
"""

from __future__ import annotations

import collections
import math

import trio

from relay.base.limits import MAX_UNSENT_BYTES, MIN_BODY_BYTES_PER_S, WRITE_STALL_TIMEOUT_S
from relay.transport.wire.events import StreamGoneError, Wire

READ_BYTES = 64 * 1024


class Pump:
    """One connection's bytes.

    Attributes:
        reading: the scope of the reading loop; cancelled, the connection is over.
        broken: the stream does not work any more.
    """

    __slots__ = ("_nursery", "_settled", "_wanted", "_writing", "broken", "reading", "stream", "wire")

    def __init__(self, stream: trio.abc.Stream, wire: Wire, nursery: trio.Nursery) -> None:
        self.stream = stream
        self.wire = wire
        self.reading = trio.CancelScope()
        self.broken = False
        self._nursery = nursery
        self._writing = False
        self._settled: trio.Event | None = None
        self._wanted: trio.Event | None = None

    async def receive(self) -> bytes:
        """Return the next bytes, empty at the end, which a broken connection is too; not before the wire wants them."""
        while not self.wire.wants_input:
            self._wanted = trio.Event()
            await self._wanted.wait()
        try:
            return bytes(await self.stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.broken = True
            return b""

    async def flush(self) -> None:
        """Write what the wire has queued; if another task is writing, return once less than the bound is left.

        Call it only from tasks that end together with the connection.
        """
        while self._writing:
            if self.broken or self.wire.unsent_bytes < MAX_UNSENT_BYTES:
                return
            await self._settle()
        await self._write_out()

    def kick(self) -> None:
        """Have what the wire has queued written soon, by a task of the connection's nursery."""
        if not self._writing and not self.broken and self.wire.unsent_bytes:
            self._nursery.start_soon(self._write_out)

    async def written(self) -> None:
        """Wait until less than the bound is left to write; safe to cancel."""
        self.kick()
        while not self.broken and self.wire.unsent_bytes >= MAX_UNSENT_BYTES:
            await self._settle()

    def look_again(self) -> None:
        """Have `receive` ask the wire again whether it wants input."""
        if self._wanted is not None:
            self._wanted.set()

    def fail(self) -> None:
        """Give the connection up."""
        self.broken = True
        self.reading.cancel()

    async def _settle(self) -> None:
        if self._settled is None:
            self._settled = trio.Event()
        await self._settled.wait()

    async def _write_out(self) -> None:
        if self._writing or self.broken:
            return
        self._writing = True
        finished = False
        try:
            while data := self.wire.take():
                with trio.move_on_after(WRITE_STALL_TIMEOUT_S) as stall:
                    await self.stream.send_all(data)
                if stall.cancelled_caught:
                    return
            finished = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            self._writing = False
            if not finished:
                self.fail()
            if self._settled is not None:
                self._settled.set()
                self._settled = None


class Channel:
    """One exchange on a connection: the body coming in, and how much may go out."""

    __slots__ = ("_pieces", "_pump", "_wake", "ended", "gone", "received_bytes", "stream", "untouched")

    def __init__(self, pump: Pump, stream: int, *, ended: bool) -> None:
        self._pump = pump
        self._pieces: collections.deque[tuple[bytes, int]] = collections.deque()
        self._wake: trio.Event | None = None
        self.stream = stream
        self.ended = ended
        self.gone = False
        self.untouched = False
        self.received_bytes = 0

    def feed(self, data: bytes, held_bytes: int) -> None:
        """Take a piece of body from the wire."""
        self._pieces.append((data, held_bytes))
        self.received_bytes += len(data)
        self.wake()

    def end(self) -> None:
        """Note that the body is complete."""
        self.ended = True
        self.wake()

    def lose(self, *, untouched: bool = False) -> None:
        """Note that the peer gave up on this exchange, or the connection broke."""
        self.gone = True
        self.untouched = self.untouched or untouched
        self.wake()

    def wake(self) -> None:
        """Have whoever waits look again."""
        if self._wake is not None:
            self._wake.set()

    async def wait(self, timeout_s: float = math.inf) -> bool:
        """Wait for anything to change; return False when nothing did in time."""
        self._wake = wake = trio.Event()
        with trio.move_on_after(timeout_s):
            await wake.wait()
        return wake.is_set()

    def take_piece(self) -> bytes | None:
        """Return the next piece that is here, and let the peer send as much again."""
        if not self._pieces:
            return None
        data, held_bytes = self._pieces.popleft()
        self._pump.wire.consumed(self.stream, held_bytes)
        self._pump.look_again()
        self._pump.kick()
        return data

    async def send(self, data: bytes, *, ended: bool, flush: bool) -> None:
        """Send `data` no faster than the peer takes it; `flush` as `Pump.flush` allows it, else by kicking.

        Raises:
            StreamGoneError: nobody reads it any more, or has not for `WRITE_STALL_TIMEOUT_S`.
        """
        left = memoryview(data)
        patience_s = WRITE_STALL_TIMEOUT_S + len(data) / MIN_BODY_BYTES_PER_S
        if self._pump.wire.unsent_bytes >= MAX_UNSENT_BYTES:
            await (self._pump.flush() if flush else self._pump.written())
        while True:
            piece = left[:MAX_UNSENT_BYTES]
            last = len(piece) == len(left)
            sent = self._pump.wire.send(self.stream, piece, ended=ended and last)
            if piece and not sent:
                # No checkpoint since the wire said so: what changes from now on wakes us.
                begun_s = trio.current_time()
                woken = await self.wait(min(WRITE_STALL_TIMEOUT_S, patience_s))
                patience_s -= trio.current_time() - begun_s
                if not woken or self._pump.broken or self.gone:
                    raise StreamGoneError
                continue
            left = left[sent:]
            await (self._pump.flush() if flush else self._pump.written())
            if self._pump.broken or self.gone:
                raise StreamGoneError
            if last and not left:
                return
