from collections.abc import Awaitable, Callable

import pytest
import trio

from relay.base.clock import SystemClock
from relay.base.errors import InvalidInputError
from relay.base.ids import ServerName
from relay.transport.destination import Destination
from relay.transport.discovery import Discovery
from relay.transport.message import Request, Response
from relay.transport.names import Service
from tests.fakes.names import FakeResolver
from tests.fakes.network import MemoryNetwork


class StillClock(SystemClock):
    def __init__(self) -> None:
        self.now_ms = 1_000_000_000

    def wall_ms(self) -> int:
        return self.now_ms


class World:
    """A discovery with its network, resolver and clock."""

    def __init__(self, network: MemoryNetwork, discovery: Discovery, resolver: FakeResolver, clock: StillClock) -> None:
        self.network, self.discovery, self.resolver, self.clock = network, discovery, resolver, clock
        self.asked = 0

    def delegate(self, host: str, to: str, *headers: tuple[str, str]) -> None:
        async def answer(request: Request) -> Response:
            assert request.target == "/.well-known/matrix/server"
            assert request.headers.get("host") == host
            self.asked += 1
            return Response.json({"m.server": to}, headers=headers)

        self.network.serve(host, 443, answer)

    async def resolve(self, name: str) -> list[Destination]:
        return await self.discovery.resolve(ServerName(name))


async def in_world(act: Callable[[World], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        network, resolver, clock = MemoryNetwork(nursery), FakeResolver(), StillClock()
        discovery = Discovery(await network.client(), resolver, clock)
        await act(World(network, discovery, resolver, clock))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("192.0.2.7", Destination("192.0.2.7", 8448, "192.0.2.7", "192.0.2.7")),
        ("192.0.2.7:99", Destination("192.0.2.7", 99, "192.0.2.7", "192.0.2.7:99")),
        ("[2001:db8::1]", Destination("2001:db8::1", 8448, "2001:db8::1", "[2001:db8::1]")),
        ("[2001:db8::1]:99", Destination("2001:db8::1", 99, "2001:db8::1", "[2001:db8::1]:99")),
        ("a.example:99", Destination("a.example", 99, "a.example", "a.example:99")),
        ("localhost:38448", Destination("localhost", 38448, "localhost", "localhost:38448")),
    ],
)
async def test_literals_and_explicit_ports_need_no_look_up(name: str, expected: Destination) -> None:
    async def act(world: World) -> None:
        assert await world.resolve(name) == [expected]
        assert world.network.dialed == []
        assert world.resolver.asked == []

    await in_world(act)


@pytest.mark.parametrize(
    ("delegate", "expected"),
    [
        ("192.0.2.7", Destination("192.0.2.7", 8448, "192.0.2.7", "192.0.2.7")),
        ("192.0.2.7:99", Destination("192.0.2.7", 99, "192.0.2.7", "192.0.2.7:99")),
        ("b.example:99", Destination("b.example", 99, "b.example", "b.example:99")),
        ("b.example", Destination("b.example", 8448, "b.example", "b.example")),
        ("c.example", Destination("srv.example", 1234, "c.example", "c.example")),
        ("d.example", Destination("old.example", 4321, "d.example", "d.example")),
    ],
)
async def test_a_delegated_name_is_handled_as_step_3_says(delegate: str, expected: Destination) -> None:
    async def act(world: World) -> None:
        world.delegate("a.example", delegate)
        world.resolver.records = {
            "_matrix-fed._tcp.c.example": [Service("srv.example", 1234)],
            "_matrix._tcp.c.example": [Service("old.example", 1)],
            "_matrix._tcp.d.example": [Service("old.example", 4321)],
        }
        assert await world.resolve("a.example") == [expected]

    await in_world(act)


async def test_without_well_known_the_new_service_name_comes_before_the_old_and_then_8448() -> None:
    async def act(world: World) -> None:
        assert await world.resolve("a.example") == [Destination("a.example", 8448, "a.example", "a.example")]
        assert world.resolver.asked == ["_matrix-fed._tcp.a.example", "_matrix._tcp.a.example"]
        world.resolver.records = {"_matrix-fed._tcp.b.example": [Service("y", 2, 1), Service("x", 1, 0)]}
        assert await world.resolve("b.example") == [
            Destination("x", 1, "b.example", "b.example"),
            Destination("y", 2, "b.example", "b.example"),
        ]

    await in_world(act)


async def test_silent_name_servers_leave_port_8448() -> None:
    async def act(world: World) -> None:
        world.resolver.down = True
        assert (await world.resolve("a.example"))[0].port == 8448

    await in_world(act)


@pytest.mark.parametrize(
    "answer",
    [
        Response(404),
        Response(500),
        Response(200, body=b"{"),
        Response(200, body=b"[]"),
        Response.json({"m.server": 5}),
        Response.json({}),
        Response.json({"m.server": "not a name!"}),
        Response.json({"m.server": "a.example:b"}),
        Response(200, body=b" " * 60_000),
        Response(302, [("Location", "http://plain.example/x")]),
        Response(302, [("Location", "/.well-known/matrix/server")]),
        Response(302),
    ],
)
async def test_an_invalid_answer_counts_as_none(answer: Response) -> None:
    async def act(world: World) -> None:
        async def answered(_request: Request) -> Response:
            return answer

        world.network.serve("a.example", 443, answered)
        assert await world.resolve("a.example") == [Destination("a.example", 8448, "a.example", "a.example")]

    await in_world(act)


async def test_redirects_are_followed_to_other_hosts() -> None:
    async def act(world: World) -> None:
        async def redirect(_request: Request) -> Response:
            return Response(301, [("Location", "https://www.example:444/other")])

        async def answered(request: Request) -> Response:
            assert request.target == "/other"
            return Response.json({"m.server": "b.example:1"})

        world.network.serve("a.example", 443, redirect)
        world.network.serve("www.example", 444, answered)
        assert (await world.resolve("a.example"))[0].host == "b.example"

    await in_world(act)


@pytest.mark.parametrize(
    ("header", "fresh_s", "stale_s"),
    [
        ((), 24 * 3600 - 1, 24 * 3600 + 1),
        ((("Cache-Control", "public, max-age=7200"),), 7199, 7201),
        ((("Cache-Control", "max-age=9999999"),), 48 * 3600 - 1, 48 * 3600 + 1),
        ((("Cache-Control", "no-store"),), 299, 301),
        ((("Expires", "Mon, 12 Jan 1970 15:46:40 GMT"),), 7199, 7201),
        ((("Expires", "soon"),), 299, 301),
    ],
)
async def test_an_answer_is_remembered_as_its_headers_say(
    header: tuple[tuple[str, str], ...], fresh_s: int, stale_s: int
) -> None:
    async def act(world: World) -> None:
        world.delegate("a.example", "b.example:1", *header)
        begun_ms = world.clock.now_ms
        for at_s, asked in ((0, 1), (fresh_s, 1), (stale_s, 2)):
            world.clock.now_ms = begun_ms + at_s * 1000
            world.discovery.forget(ServerName("a.example"))
            assert (await world.resolve("a.example"))[0].host == "b.example"
            assert world.asked == asked

    await in_world(act)


async def test_a_name_that_cannot_be_reached_is_asked_again_soon_and_keeps_its_last_delegate() -> None:
    async def act(world: World) -> None:
        world.delegate("a.example", "b.example:1", ("Cache-Control", "max-age=3600"))
        world.network.cut = {"a.example"}
        assert (await world.resolve("a.example"))[0].port == 8448
        world.network.cut = set()
        world.clock.now_ms += 31_000
        world.discovery.forget(ServerName("a.example"))
        assert (await world.resolve("a.example"))[0].host == "b.example"
        world.network.cut = {"a.example"}
        for stream in world.network.streams:
            await stream.aclose()
        world.clock.now_ms += 3_601_000
        assert (await world.resolve("a.example"))[0].host == "b.example"
        assert world.network.dialed[-1].host == "a.example"

    await in_world(act)


async def test_a_refusal_is_remembered_for_an_hour() -> None:
    async def act(world: World) -> None:
        asked = 0

        async def missing(_request: Request) -> Response:
            nonlocal asked
            asked += 1
            return Response(404)

        world.network.serve("a.example", 443, missing)
        for step_s, expected in ((0, 1), (3_590, 1), (20, 2)):
            world.clock.now_ms += step_s * 1000
            world.discovery.forget(ServerName("a.example"))
            await world.resolve("a.example")
            assert asked == expected

    await in_world(act)


async def test_many_who_ask_at_once_cause_one_look_up_also_when_the_first_gives_up() -> None:
    async def act(world: World) -> None:
        world.delegate("a.example", "b.example:1")
        found: list[Destination] = []

        async def ask() -> None:
            found.extend(await world.resolve("a.example"))

        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0) as impatient:
                await ask()
            for _ in range(5):
                nursery.start_soon(ask)
        assert impatient.cancelled_caught
        assert len(found) == 5
        assert world.asked == 1

    await in_world(act)


async def test_what_is_no_server_name_is_refused() -> None:
    async def act(world: World) -> None:
        with pytest.raises(InvalidInputError):
            await world.resolve("[::1")

    await in_world(act)
