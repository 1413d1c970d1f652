from collections.abc import Callable

import pytest
import trio
import trio.testing

from relay.base.limits import MAX_UNSENT_BYTES, MIN_BODY_BYTES_PER_S, WRITE_STALL_TIMEOUT_S
from relay.transport.pump import Channel, Pump
from relay.transport.wire.events import StreamGoneError
from relay.transport.wire.http1 import Http1


class NarrowWire(Http1):
    """A server's wire that lets out `room` bytes of body until told otherwise."""

    def __init__(self, room: int) -> None:
        super().__init__(server=True)
        self.room = room
        self.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0.0)
        self.respond(1, 200, [], ended=False)
        self.take()

    def send(self, stream: int, data: memoryview, *, ended: bool) -> int:
        count = min(self.room, len(data))
        self.room -= count
        return super().send(stream, data[:count], ended=ended and count == len(data))


class WatchedStream(trio.abc.SendStream):
    """Calls `on_send` in the middle of every sending."""

    def __init__(self, on_send: Callable[[], None]) -> None:
        self.on_send = on_send
        self.sent = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.on_send()
        self.sent += bytes(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def pump_over(wire: NarrowWire, stream: WatchedStream, nursery: trio.Nursery) -> Pump:
    return Pump(trio.StapledStream(stream, trio.testing.MemoryReceiveStream()), wire, nursery)


@pytest.mark.parametrize("flush", [True, False])
async def test_room_that_grows_while_we_write_is_not_missed(
    autojump_clock: trio.testing.MockClock, flush: bool
) -> None:
    wire = NarrowWire(3)

    def grow() -> None:
        wire.room = 100
        channel.wake()

    async with trio.open_nursery() as nursery:
        stream = WatchedStream(grow)
        channel = Channel(pump_over(wire, stream, nursery), 1, ended=True)
        begun_s = trio.current_time()
        await channel.send(b"hello", ended=True, flush=flush)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == begun_s
        assert stream.sent.endswith(b"0\r\n\r\n")


async def test_a_peer_that_never_makes_room_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        channel = Channel(pump_over(NarrowWire(3), WatchedStream(lambda: None), nursery), 1, ended=True)
        begun_s = trio.current_time()
        with pytest.raises(StreamGoneError):
            await channel.send(b"hello", ended=True, flush=True)
        assert trio.current_time() - begun_s == pytest.approx(WRITE_STALL_TIMEOUT_S)


async def test_a_peer_that_makes_room_byte_by_byte_is_given_up_too(autojump_clock: trio.testing.MockClock) -> None:
    wire = NarrowWire(0)
    data = b"x" * MIN_BODY_BYTES_PER_S * 10

    async with trio.open_nursery() as nursery:
        channel = Channel(pump_over(wire, WatchedStream(lambda: None), nursery), 1, ended=True)

        async def trickle() -> None:
            while True:
                await trio.sleep(5)
                wire.room += 1
                channel.wake()

        nursery.start_soon(trickle)
        begun_s = trio.current_time()
        with pytest.raises(StreamGoneError):
            await channel.send(data, ended=True, flush=True)
        assert trio.current_time() - begun_s <= WRITE_STALL_TIMEOUT_S + 10 + 5
        nursery.cancel_scope.cancel()


async def test_a_write_that_blocks_for_too_long_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    class Blocked(WatchedStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        pump = pump_over(NarrowWire(10**9), Blocked(lambda: None), nursery)
        with pump.reading:
            channel = Channel(pump, 1, ended=True)
            with pytest.raises(StreamGoneError):
                await channel.send(bytes(MAX_UNSENT_BYTES * 3), ended=True, flush=False)
            assert pump.broken
            await trio.sleep_forever()
        assert pump.reading.cancelled_caught
