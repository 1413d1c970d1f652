"""At each limit of `transport`: what is just within it passes, what is just beyond is refused."""

import h2.connection
import orjson
import pytest
import trio

from relay.base.errors import RateLimitedError
from relay.base.limits import (
    H2_RESETS_BURST,
    H2_RESETS_PER_S,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_ADDRESS,
    MAX_GATHERED_BYTES,
    MAX_GATHERED_BYTES_PER_ADDRESS,
    MAX_H2_UNREAD_BYTES,
    MAX_WELL_KNOWN_BYTES,
    MAX_WELL_KNOWN_REDIRECTS,
)
from relay.transport.body_budget import BodyBudget
from relay.transport.message import Request, Response
from relay.transport.server import Server
from relay.transport.wire.floods import FrameGauge
from relay.transport.wire.http2 import Http2
from tests.flow.transport.test_server import Open, ask, ended, running, show_address
from tests.unit.transport.test_discovery import World, in_world


def test_bodies_of_one_address_and_of_all_have_their_share_of_memory_to_the_byte() -> None:
    budget = BodyBudget()
    budget.take("a", 0, MAX_GATHERED_BYTES_PER_ADDRESS)
    with pytest.raises(RateLimitedError):
        budget.take("a", MAX_GATHERED_BYTES_PER_ADDRESS, 1)
    budget.take("b", 0, MAX_GATHERED_BYTES - MAX_GATHERED_BYTES_PER_ADDRESS)
    with pytest.raises(RateLimitedError):
        budget.take("b", 100_000, 1)
    budget.give_back("a", 1)
    budget.take("b", 100_000, 1)


async def test_the_last_connection_of_an_address_is_served_and_the_next_is_not() -> None:
    async def act(there: Open) -> None:
        counts = there.server._counts
        counts["127.0.0.1"] = MAX_CONNECTIONS_PER_ADDRESS - 1
        kept = await there.connect()
        assert b"200" in await ask(kept)
        assert await ended(await there.connect())
        counts["127.0.0.1"] -= MAX_CONNECTIONS_PER_ADDRESS - 1

    await running(Server(show_address), act)


async def test_the_last_connection_of_all_is_served_and_the_next_is_not_while_all_are_busy() -> None:
    async def act(there: Open) -> None:
        there.server._count = MAX_CONNECTIONS - 1
        kept = await there.connect()
        await kept.send_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        while there.server.connections < MAX_CONNECTIONS or all(one.idle for one in there.server._conversations):
            await trio.sleep(0)
        assert await ended(await there.connect())
        assert b"200" in await ask(kept, b"")
        there.server._count -= MAX_CONNECTIONS - 1

    await running(Server(show_address), act)


def test_an_http2_peer_may_have_so_much_unread() -> None:
    here, peer = Http2(server=True), h2.connection.H2Connection()
    peer.initiate_connection()
    here.receive(peer.data_to_send(), 0.0)
    peer.receive_data(here.take())
    assert peer.outbound_flow_control_window == MAX_H2_UNREAD_BYTES


def test_resets_come_back_at_their_rate() -> None:
    gauge = FrameGauge(server=True)
    assert all(gauge.resets.take(0.0) for _ in range(H2_RESETS_BURST))
    assert not gauge.resets.take(0.0)
    assert all(gauge.resets.take(1.0) for _ in range(int(H2_RESETS_PER_S)))
    assert not gauge.resets.take(1.0)


@pytest.mark.parametrize(("excess", "port"), [(0, 99), (1, 8448)])
async def test_a_well_known_answer_is_read_up_to_its_limit(excess: int, port: int) -> None:
    async def act(world: World) -> None:
        async def answer(_request: Request) -> Response:
            content = {"m.server": "192.0.2.7:99", "filling": ""}
            content["filling"] = "x" * (MAX_WELL_KNOWN_BYTES + excess - len(orjson.dumps(content)))
            return Response.json(content)

        world.network.serve("a.example", 443, answer)
        assert [place.port for place in await world.resolve("a.example")] == [port]

    await in_world(act)


@pytest.mark.parametrize(("redirects", "port"), [(MAX_WELL_KNOWN_REDIRECTS, 99), (MAX_WELL_KNOWN_REDIRECTS + 1, 8448)])
async def test_a_well_known_answer_is_followed_through_so_many_redirects(redirects: int, port: int) -> None:
    async def act(world: World) -> None:
        asked = 0

        async def answer(_request: Request) -> Response:
            nonlocal asked
            asked += 1
            if asked <= redirects:
                return Response(302, [("Location", f"https://a.example/{asked}")])
            return Response.json({"m.server": "192.0.2.7:99"})

        world.network.serve("a.example", 443, answer)
        assert [place.port for place in await world.resolve("a.example")] == [port]

    await in_world(act)
