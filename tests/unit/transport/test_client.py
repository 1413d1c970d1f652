from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing

from relay.base.errors import InvalidInputError, TooLargeError, UnreachableError
from relay.base.limits import (
    IDLE_CLIENT_CONNECTION_TIMEOUT_S,
    MAX_CONNECTIONS_PER_DESTINATION,
    MAX_KEPT_CLIENT_CONNECTIONS,
)
from relay.transport.client import ClientResponse, HttpClient, PeerTooSlowError
from relay.transport.destination import Destination
from relay.transport.link import BrokenCallError
from relay.transport.message import Headers, Request, Response
from tests.fakes.network import MemoryNetwork, destination

A = destination("a.example")
both = pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])


async def echo(request: Request) -> Response:
    return Response(200, body=await request.body(1_000_000))


class World:
    """A client and the network it lives in."""

    def __init__(self, network: MemoryNetwork, client: HttpClient) -> None:
        self.network = network
        self.client = client

    async def ask(self, method: str = "PUT", body: bytes = b"hello", timeout_s: float = 30) -> ClientResponse:
        return await self.client.request(A, method, "/x", body=body, timeout_s=timeout_s, limit_bytes=1000)


async def in_world(act: Callable[[World], Awaitable[None]], *, http2: bool, answer: object = echo) -> None:
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery, http2=http2)
        network.serve("a.example", 8448, answer)  # type: ignore[arg-type]
        await act(World(network, await network.client()))
        nursery.cancel_scope.cancel()


@both
async def test_whatever_the_status_it_is_an_answer(http2: bool) -> None:
    async def refuse(_request: Request) -> Response:
        return Response.json({"errcode": "M_FORBIDDEN"}, 403, [("X-A", "b")])

    async def act(world: World) -> None:
        answer = await world.ask()
        assert (answer.status, answer.json(), answer.headers.get("x-a")) == (403, {"errcode": "M_FORBIDDEN"}, "b")

    await in_world(act, http2=http2, answer=refuse)


def test_an_answer_that_is_not_json_is_said_to_be_so() -> None:
    with pytest.raises(InvalidInputError):
        ClientResponse(200, Headers(), b"<html>").json()


@both
async def test_redirects_are_answers_too(http2: bool) -> None:
    async def redirect(_request: Request) -> Response:
        return Response(302, [("Location", "https://b.example/")])

    async def act(world: World) -> None:
        assert (await world.ask()).status == 302

    await in_world(act, http2=http2, answer=redirect)


@both
async def test_an_answer_over_the_limit_is_refused_and_the_next_request_works(http2: bool) -> None:
    async def act(world: World) -> None:
        with pytest.raises(TooLargeError):
            await world.ask(body=b"x" * 1001)
        assert (await world.ask(body=b"x" * 1000)).body == b"x" * 1000

    await in_world(act, http2=http2)


@both
async def test_a_peer_that_does_not_answer_in_time_is_unreachable(
    autojump_clock: trio.testing.MockClock, http2: bool
) -> None:
    async def never(request: Request) -> Response:
        if await request.body(99) == b"now":
            return Response(200)
        await trio.sleep_forever()
        raise AssertionError

    async def act(world: World) -> None:
        with pytest.raises(PeerTooSlowError):
            await world.ask(timeout_s=7)
        assert trio.current_time() - begun_s == pytest.approx(7)
        assert (await world.ask(body=b"now")).status == 200

    begun_s = trio.current_time()
    await in_world(act, http2=http2, answer=never)


@both
@pytest.mark.parametrize("target", ["", "x", "/a b", "/a\r\nX: y", "/\u00fc"])
async def test_a_target_that_is_not_encoded_is_refused_before_anything_is_sent(http2: bool, target: str) -> None:
    async def act(world: World) -> None:
        with pytest.raises(InvalidInputError):
            await world.client.request(A, "GET", target, timeout_s=5, limit_bytes=9)
        assert world.network.dialed == []

    await in_world(act, http2=http2)


@both
async def test_a_line_break_in_a_header_does_not_become_a_header(http2: bool) -> None:
    async def show(request: Request) -> Response:
        return Response(200, body=(request.headers.get("x-a") or "").encode())

    async def act(world: World) -> None:
        answer = await world.client.request(
            A, "GET", "/", headers=[("X-A", "b\r\nX-C: d\0")], timeout_s=5, limit_bytes=99
        )
        assert answer.body == b"b  X-C: d"

    await in_world(act, http2=http2, answer=show)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n", None),
        (b"", None),
    ],
)
async def test_whole_answers_of_odd_servers_are_taken_and_half_ones_are_not(answer: bytes, body: bytes | None) -> None:
    async def dial(destination: Destination) -> tuple[trio.abc.Stream, bool]:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(answer)
        await theirs.send_eof()
        return ours, False

    async with trio.open_nursery() as nursery:
        client = HttpClient(dial)
        await nursery.start(client.run)
        if body is None:
            with pytest.raises(BrokenCallError):
                await client.request(A, "GET", "/", timeout_s=5, limit_bytes=99)
        else:
            assert (await client.request(A, "GET", "/", timeout_s=5, limit_bytes=99)).body == body
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_unreachable() -> None:
    async def act(world: World) -> None:
        world.network.cut = {"a.example"}
        with pytest.raises(UnreachableError):
            await world.ask()

    await in_world(act, http2=False)


async def test_a_client_that_does_not_run_reaches_nobody() -> None:
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery)
        with pytest.raises(UnreachableError):
            await World(network, HttpClient(network)).ask()


@both
async def test_connections_to_one_destination_are_bounded_and_the_rest_waits(http2: bool) -> None:
    together = most = 0

    async def count(_request: Request) -> Response:
        nonlocal together, most
        together += 1
        most = max(most, together)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        together -= 1
        return Response(200)

    async def act(world: World) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(world.ask)
        assert len(world.network.dialed) <= MAX_CONNECTIONS_PER_DESTINATION
        assert most >= MAX_CONNECTIONS_PER_DESTINATION

    await in_world(act, http2=http2, answer=count)


async def test_one_http2_connection_carries_many_requests_at_once() -> None:
    async def act(world: World) -> None:
        await world.ask()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(world.ask)
        assert len(world.network.dialed) == 1

    await in_world(act, http2=True)


@both
async def test_an_idle_connection_is_closed(autojump_clock: trio.testing.MockClock, http2: bool) -> None:
    async def act(world: World) -> None:
        await world.ask()
        await trio.sleep(IDLE_CLIENT_CONNECTION_TIMEOUT_S - 1)
        assert world.client.connections == 1
        await trio.sleep(2)
        assert world.client.connections == 0
        await world.ask()

    await in_world(act, http2=http2)


@both
async def test_a_kept_connection_that_died_unseen_costs_one_more_attempt_where_repeating_is_harmless(
    http2: bool,
) -> None:
    fail = False

    async def flaky(request: Request) -> Response:
        nonlocal fail
        if fail:
            fail = False
            await world_of[0].network.streams[-1].aclose()
            await trio.sleep_forever()
        return await echo(request)

    world_of: list[World] = []

    async def act(world: World) -> None:
        nonlocal fail
        world_of.append(world)
        await world.ask()
        fail = True
        assert (await world.ask()).status == 200
        fail = True
        with pytest.raises(BrokenCallError):
            await world.ask("POST")
        # A first request on a new connection is not repeated either: nothing was stale about it.
        await trio.testing.wait_all_tasks_blocked()
        fail = True
        with pytest.raises(BrokenCallError):
            await world.ask()

    await in_world(act, http2=http2, answer=flaky)


@both
async def test_a_streamed_answer_is_read_as_it_comes_and_may_be_left_early(http2: bool) -> None:
    made = 0

    class Numbers:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            nonlocal made
            await trio.lowlevel.checkpoint()
            made += 1
            return b"%09d" % made * 1000

    async def endless(_request: Request) -> Response:
        return Response(200, body=Numbers())

    async def act(world: World) -> None:
        async with world.client.stream(A, "GET", "/", timeout_s=5) as answer:
            async for piece in answer.stream():
                assert piece.startswith(b"000000001")
                break
        await trio.testing.wait_all_tasks_blocked()
        before = made
        await trio.testing.wait_all_tasks_blocked()
        assert made == before

    await in_world(act, http2=http2, answer=endless)


@both
async def test_an_answer_that_stalls_in_the_middle_is_an_error(
    autojump_clock: trio.testing.MockClock, http2: bool
) -> None:
    class Stalling:
        def __init__(self) -> None:
            self.pieces = 0

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            self.pieces += 1
            if self.pieces > 1:
                await trio.sleep_forever()
            return b"half"

    async def stalling(_request: Request) -> Response:
        return Response(200, body=Stalling())

    async def act(world: World) -> None:
        async with world.client.stream(A, "GET", "/", timeout_s=5) as answer:
            with pytest.raises(PeerTooSlowError):
                await answer.read(1000)

    await in_world(act, http2=http2, answer=stalling)


@both
async def test_a_refusal_before_the_body_is_sent_is_an_answer(http2: bool) -> None:
    async def refuse(_request: Request) -> Response:
        return Response(413)

    async def act(world: World) -> None:
        answer = await world.client.request(A, "POST", "/", body=bytes(3_000_000), timeout_s=20, limit_bytes=10)
        assert answer.status == 413

    await in_world(act, http2=http2, answer=refuse)


class CancelAtStep(trio.abc.Instrument):
    """Cancels `scope` when `task` has taken its step number `step` and waits for something."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self.task, self.scope, self.left = task, scope, step

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@both
@pytest.mark.parametrize("used", [False, True], ids=["new", "kept"])
async def test_cancelled_at_any_checkpoint_nothing_leaks_and_the_next_request_works(http2: bool, used: bool) -> None:
    async def measure(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        return Response(200, body=b"%d" % len(await request.body(1_000_000)))

    async def act(world: World) -> None:
        cancelled = 0
        while True:
            if not used:
                for stream in world.network.streams:
                    await stream.aclose()
                await trio.testing.wait_all_tasks_blocked()
            if await cancelled_at(cancelled + 1, world):
                cancelled += 1
            else:
                break
            await trio.testing.wait_all_tasks_blocked()
            pool = world.client._pool
            for peer in pool._peers.values():
                assert peer.dialing == 0
                assert not peer.waiting
                assert all(link.idle for link in peer.links)
            assert (await world.ask(body=b"1")).body == b"1"
            assert pool.connections == 1
        assert cancelled >= 3

    await in_world(act, http2=http2, answer=measure)


async def cancelled_at(step: int, world: World) -> bool:
    """Ask with a body larger than any window, cancelled at one checkpoint; return whether there was such a one."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(trio.lowlevel.current_task(), scope, step)
        trio.lowlevel.add_instrument(instrument)
        try:
            assert (await world.ask(body=bytes(300_000))).body == b"300000"
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


async def test_those_who_wait_for_a_connection_can_give_up_without_harm() -> None:
    release = trio.Event()

    async def slow(_request: Request) -> Response:
        await release.wait()
        return Response(200)

    async def act(world: World) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_CONNECTIONS_PER_DESTINATION):
                nursery.start_soon(world.ask)
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as impatient:
                nursery.start_soon(lambda: cancel_when_blocked(impatient))
                await world.ask()
            assert impatient.cancelled_caught
            nursery.start_soon(world.ask)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        assert len(world.network.dialed) == MAX_CONNECTIONS_PER_DESTINATION

    await in_world(act, http2=False, answer=slow)


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_peers_are_forgotten_when_their_last_connection_ends() -> None:
    async def act(world: World) -> None:
        await world.ask()
        for stream in world.network.streams:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        world.network.cut = {"a.example"}
        with pytest.raises(UnreachableError):
            await world.ask()
        assert world.client._pool._peers == {}

    await in_world(act, http2=False)


async def test_of_many_destinations_only_so_many_connections_are_kept() -> None:
    async def act(world: World) -> None:
        for number in range(MAX_KEPT_CLIENT_CONNECTIONS + 10):
            world.network.serve(f"{number}.example", 8448, echo)
            await world.client.request(destination(f"{number}.example"), "GET", "/", timeout_s=5, limit_bytes=9)
        await trio.testing.wait_all_tasks_blocked()
        assert world.client.connections == MAX_KEPT_CLIENT_CONNECTIONS
        # The oldest were closed, the newest are still there.
        dialed = len(world.network.dialed)
        await world.client.request(
            destination(f"{MAX_KEPT_CLIENT_CONNECTIONS + 9}.example"), "GET", "/", timeout_s=5, limit_bytes=9
        )
        assert len(world.network.dialed) == dialed

    await in_world(act, http2=False)


async def test_stopping_the_client_ends_what_is_under_way() -> None:
    async def never(_request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery)
        network.serve("a.example", 8448, never)
        client = HttpClient(network)
        async with trio.open_nursery() as running:
            await running.start(client.run)
            errors: list[str] = []

            async def ask() -> None:
                try:
                    await client.request(A, "GET", "/", timeout_s=60, limit_bytes=1)
                except UnreachableError as error:
                    errors.append(error.code)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            running.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert errors == ["peer.connection_lost"]
        assert client.connections == 0
        nursery.cancel_scope.cancel()


def test_destinations_are_told_apart_by_every_part() -> None:
    assert len({A, Destination("a.example", 8448, None, "a.example:8448"), destination("b.example")}) == 3
