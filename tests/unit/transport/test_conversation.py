import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trio.testing

from relay.base.errors import TooLargeError
from relay.base.limits import (
    BODY_STALL_TIMEOUT_S,
    HEADER_TIMEOUT_S,
    IDLE_CONNECTION_TIMEOUT_S,
    MAX_UNREAD_BODY_BYTES,
    MAX_UNSENT_BYTES,
    MIB,
    WRITE_STALL_TIMEOUT_S,
)
from relay.transport.message import Endpoint, Pieces, Request, Response
from relay.transport.server import Server

HEAD = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")]
PUT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def hello(_request: Request) -> Response:
    return Response(200, body=b"hello")


async def read_all(request: Request) -> Response:
    return Response(200, body=b"%d" % len(await request.body(MIB)))


class Line:
    """The client's end of one connection to a server."""

    def __init__(self, stream: trio.abc.Stream, server: Server) -> None:
        self.stream = stream
        self.server = server
        self.heard = b""

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self, until: bytes) -> bytes:
        """Return what came, up to and with `until`."""
        while until not in self.heard:
            data = await self.stream.receive_some()
            assert data, f"ended after {self.heard!r}"
            self.heard += data
        found, _, self.heard = self.heard.partition(until)
        return found + until

    async def rest(self) -> bytes:
        """Return what comes until the server ends the connection."""
        while data := await self.stream.receive_some():
            self.heard += data
        return self.heard


async def on_line(answer: Endpoint, act: Callable[[Line], Awaitable[None]], *, http2: bool = False) -> None:
    """Run `act` against a server; afterwards the server must have ended by itself or by our hanging up."""
    ours, theirs = trio.testing.memory_stream_pair()
    server = Server(answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: server.converse(theirs, address="192.0.2.1", http2=http2))
        await act(Line(ours, server))
        await ours.aclose()


async def test_one_connection_answers_request_after_request() -> None:
    async def act(line: Line) -> None:
        for _ in range(3):
            await line.say(GET)
            answer = await line.hear(b"hello")
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"date: " in answer
            assert b"content-length: 5" in answer

    await on_line(hello, act)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def path(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, body=request.path.encode() + b";")

    async def act(line: Line) -> None:
        await line.say(b"".join(GET.replace(b"/ ", b"/%d " % n) for n in range(20)))
        for number in range(20):
            assert (await line.hear(b";")).endswith(b"/%d;" % number)

    await on_line(path, act)


@pytest.mark.parametrize("method", [b"HEAD", b"OPTIONS"])
async def test_head_and_empty_answers_have_no_body(method: bytes) -> None:
    async def answer(request: Request) -> Response:
        return Response(204) if request.method == "OPTIONS" else await hello(request)

    async def act(line: Line) -> None:
        await line.say(GET.replace(b"GET", method) + GET)
        first = await line.hear(b"\r\n\r\n")
        assert (b"content-length: 5" in first) == (method == b"HEAD")
        assert (await line.hear(b"hello")).startswith(b"HTTP/1.1 200")

    await on_line(answer, act)


@pytest.mark.parametrize("head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"])
async def test_who_asks_to_close_is_answered_and_the_connection_ends(head: bytes) -> None:
    async def act(line: Line) -> None:
        await line.say(head)
        assert (await line.rest()).endswith(b"\r\n\r\nhello")

    await on_line(hello, act)


async def test_an_old_client_gets_a_body_of_unknown_length_up_to_the_end_of_the_connection() -> None:
    async def streamed(_request: Request) -> Response:
        return Response(200, body=Pieces(b"one", b"two"))

    async def act(line: Line) -> None:
        await line.say(b"GET / HTTP/1.0\r\n\r\n")
        assert (await line.rest()).endswith(b"\r\n\r\nonetwo")

    await on_line(streamed, act)


async def test_slow_headers_are_answered_408(autojump_clock: trio.testing.MockClock) -> None:
    async def act(line: Line) -> None:
        begun_s = trio.current_time()
        for byte in GET[:12]:
            await line.say(bytes((byte,)))
            await trio.sleep(0.5)
        assert (await line.rest()).startswith(b"HTTP/1.1 408")
        assert trio.current_time() - begun_s <= HEADER_TIMEOUT_S + 2

    await on_line(hello, act)


@pytest.mark.parametrize("http2", [False, True])
async def test_a_silent_connection_is_closed(autojump_clock: trio.testing.MockClock, http2: bool) -> None:
    async def act(line: Line) -> None:
        await line.rest()
        assert trio.current_time() == pytest.approx(begun_s + HEADER_TIMEOUT_S, abs=2)

    begun_s = trio.current_time()
    await on_line(hello, act, http2=http2)


async def test_an_idle_connection_is_closed_after_minutes(autojump_clock: trio.testing.MockClock) -> None:
    async def act(line: Line) -> None:
        await line.say(GET)
        await line.hear(b"hello")
        begun_s = trio.current_time()
        assert await line.rest() == b""
        assert trio.current_time() - begun_s == pytest.approx(IDLE_CONNECTION_TIMEOUT_S, abs=2)

    await on_line(hello, act)


async def test_a_stalled_body_is_answered_408(autojump_clock: trio.testing.MockClock) -> None:
    async def act(line: Line) -> None:
        begun_s = trio.current_time()
        await line.say(PUT % 10 + b"12345")
        assert (await line.rest()).startswith(b"HTTP/1.1 408")
        assert trio.current_time() - begun_s == pytest.approx(BODY_STALL_TIMEOUT_S, abs=2)

    await on_line(read_all, act)


async def test_a_body_that_trickles_is_answered_408(autojump_clock: trio.testing.MockClock) -> None:
    async def act(line: Line) -> None:
        begun_s = trio.current_time()
        await line.say(PUT % 1000)
        with contextlib.suppress(trio.BrokenResourceError):
            for _ in range(1000):
                await line.say(b"x")
                await trio.sleep(5)
        assert trio.current_time() - begun_s < 2 * BODY_STALL_TIMEOUT_S

    await on_line(read_all, act)


async def test_a_body_too_large_is_refused_and_the_refusal_can_be_read(autojump_clock: trio.testing.MockClock) -> None:
    async def small(request: Request) -> Response:
        try:
            await request.body(10)
        except TooLargeError:
            return Response(413, body=b"no")
        raise AssertionError

    async def act(line: Line) -> None:
        await line.say(PUT % (200 * 1024))
        await line.say(b"x" * 200 * 1024)
        answer = await line.rest()
        assert answer.startswith(b"HTTP/1.1 413")
        assert answer.endswith(b"no")

    await on_line(small, act)


async def test_expect_100_is_answered_when_the_body_is_wanted(autojump_clock: trio.testing.MockClock) -> None:
    async def picky(request: Request) -> Response:
        return await read_all(request) if request.path == "/yes" else Response(403, body=b"no")

    async def act(line: Line) -> None:
        await line.say(b"PUT /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await line.hear(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await line.say(b"hi")
        assert (await line.hear(b"\r\n\r\n2")).startswith(b"HTTP/1.1 200")
        await line.say(b"PUT /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await line.rest()).startswith(b"HTTP/1.1 403")

    await on_line(picky, act)


async def test_an_upload_is_read_no_faster_than_the_endpoint_takes_it(autojump_clock: trio.testing.MockClock) -> None:
    go_on = trio.Event()

    async def slow(request: Request) -> Response:
        await go_on.wait()
        return await read_all(request)

    # Here, sending waits for the other side to receive.
    ours, theirs = trio.testing.lockstep_stream_pair()
    sent = 0

    async def upload() -> None:
        nonlocal sent
        await ours.send_all(PUT % MIB)
        while sent < MIB:
            await ours.send_all(b"x" * 1024)
            sent += 1024

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(Server(slow).converse, theirs))
        nursery.start_soon(upload)
        await trio.testing.wait_all_tasks_blocked()
        assert sent == MAX_UNREAD_BODY_BYTES
        go_on.set()
        assert (await ours.receive_some()).startswith(b"HTTP/1.1 200")
        await ours.aclose()


async def test_a_download_is_made_no_faster_than_the_peer_reads(autojump_clock: trio.testing.MockClock) -> None:
    made = 0
    closed = False

    class Endless:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            nonlocal made
            made += 1
            return b"x" * 16_384

        async def aclose(self) -> None:
            nonlocal closed
            closed = True

    async def endless(_request: Request) -> Response:
        return Response(200, body=Endless())

    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))

    async def act(line: Line) -> None:
        client.initiate_connection()
        client.send_headers(1, HEAD, end_stream=True)
        await line.say(client.data_to_send())
        await trio.testing.wait_all_tasks_blocked()
        # The stream's window is 65,535 bytes.
        assert made == 4
        begun_s = trio.current_time()
        await trio.sleep(WRITE_STALL_TIMEOUT_S + 1)
        assert closed
        assert trio.current_time() - begun_s < WRITE_STALL_TIMEOUT_S + 2
        events = client.receive_data(await line.stream.receive_some())
        assert isinstance(events[-1], h2.events.StreamReset)

    await on_line(endless, act, http2=True)


async def test_a_get_ends_with_its_connection_and_a_whole_put_does_not() -> None:
    ended: list[str] = []
    release = trio.Event()

    async def slow(request: Request) -> Response:
        try:
            await request.body(100)
            await release.wait()
            ended.append("done " + request.method)
        except trio.Cancelled:
            ended.append("cancelled " + request.method)
            raise
        return Response(200)

    for request in (GET, PUT % 2 + b"hi", PUT % 3 + b"hi"):
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(Server(slow).converse, theirs))
            await ours.send_all(request)
            await trio.testing.wait_all_tasks_blocked()
            await ours.aclose()
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        release = trio.Event()
    assert ended == ["cancelled GET", "done PUT", "cancelled PUT"]


async def test_an_endpoint_that_fails_costs_a_500_and_not_the_connection() -> None:
    async def broken(_request: Request) -> Response:
        raise ZeroDivisionError

    async def act(line: Line) -> None:
        for _ in range(2):
            await line.say(GET)
            assert (await line.hear(b"\r\n\r\n")).startswith(b"HTTP/1.1 500")

    await on_line(broken, act)


async def test_a_line_break_in_a_header_does_not_become_a_header() -> None:
    async def split(_request: Request) -> Response:
        return Response(200, [("X-A", "b\r\nSet-Cookie: evil\0")], b"hello")

    async def act(line: Line) -> None:
        await line.say(GET)
        assert b"x-a: b  Set-Cookie: evil" in await line.hear(b"hello")

    await on_line(split, act)


async def test_a_body_that_fails_half_way_is_never_taken_for_whole() -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    async def broken(_request: Request) -> Response:
        return Response(200, body=half())

    async def act(line: Line) -> None:
        await line.say(GET)
        answer = await line.rest()
        assert b"half" in answer
        assert not answer.endswith(b"0\r\n\r\n")

    await on_line(broken, act)


async def test_http2_streams_do_not_wait_for_each_other() -> None:
    release = trio.Event()

    async def answer(request: Request) -> Response:
        if request.path == "/slow":
            await release.wait()
        return Response(200, body=request.path.encode())

    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))

    async def act(line: Line) -> None:
        bodies: dict[int | None, bytes] = {}

        async def hear(count: int) -> None:
            while len(bodies) < count:
                for event in client.receive_data(await line.stream.receive_some()):
                    if isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] = bytes(event.data)

        client.initiate_connection()
        client.send_headers(1, [*HEAD[:3], (":path", "/slow")], end_stream=True)
        client.send_headers(3, [*HEAD[:3], (":path", "/fast")], end_stream=True)
        await line.say(client.data_to_send())
        await hear(1)
        assert bodies == {3: b"/fast"}
        release.set()
        await hear(2)
        assert bodies[1] == b"/slow"

    await on_line(answer, act, http2=True)


async def test_a_reset_stream_cancels_its_endpoint_and_nothing_else() -> None:
    cancelled = False

    async def answer(request: Request) -> Response:
        nonlocal cancelled
        if request.path == "/slow":
            try:
                await trio.sleep_forever()
            finally:
                cancelled = True
        return Response(200, body=b"fine")

    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))

    async def act(line: Line) -> None:
        client.initiate_connection()
        client.send_headers(1, [*HEAD[:3], (":path", "/slow")], end_stream=True)
        await line.say(client.data_to_send())
        await trio.testing.wait_all_tasks_blocked()
        client.reset_stream(1)
        client.send_headers(3, HEAD, end_stream=True)
        await line.say(client.data_to_send())
        await line.hear(b"fine")
        assert cancelled

    await on_line(answer, act, http2=True)


async def test_what_waits_to_be_written_stays_bounded_over_many_streams(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A peer with huge windows that never reads: the wire holds no more than its bound and one piece a stream."""

    async def large(_request: Request) -> Response:
        return Response(200, body=bytes(MIB))

    ours, theirs = trio.testing.memory_stream_pair()
    held: list[int] = []
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.local_settings.update({4: 2**31 - 1})
    client.initiate_connection()
    client.increment_flow_control_window(2**31 - 1 - 65_535)
    for number in range(50):
        client.send_headers(2 * number + 1, HEAD, end_stream=True)
    async with trio.open_nursery() as nursery:
        blocked = trio.StapledStream(_Stuck(held), theirs.receive_stream)
        nursery.start_soon(lambda: Server(large).converse(blocked, http2=True))
        await ours.send_all(client.data_to_send())
        await trio.testing.wait_all_tasks_blocked()
        assert sum(held) <= 4 * MAX_UNSENT_BYTES
        await trio.sleep(WRITE_STALL_TIMEOUT_S + 5)
        # Nobody read for so long: the connection is over, and with it every stream.
    assert len(held) == 1


class _Stuck(trio.abc.SendStream):
    """Takes one piece and never finishes with it."""

    def __init__(self, held: list[int]) -> None:
        self._held = held

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._held.append(len(data))
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
