import pytest
import trio

from relay.transport.message import Request, Response
from tests.fakes.network import MemoryNetwork, destination

both = pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])


async def echo(request: Request) -> Response:
    body = await request.body(10_000_000)
    return Response(200, [("X-Target", request.target), ("X-Method", request.method)], body)


@both
async def test_a_request_is_answered(http2: bool) -> None:
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery, http2=http2)
        network.serve("a.example", 8448, echo)
        client = await network.client()
        for number in range(3):
            answer = await client.request(
                destination("a.example"), "PUT", f"/x?y={number}", body=b"hello", timeout_s=5, limit_bytes=100
            )
            assert (answer.status, answer.body) == (200, b"hello")
            assert answer.headers.get("x-target") == f"/x?y={number}"
        assert len(network.dialed) == 1
        nursery.cancel_scope.cancel()


@both
async def test_large_bodies_travel_both_ways(http2: bool) -> None:
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery, http2=http2)
        network.serve("a.example", 8448, echo)
        client = await network.client()
        body = bytes(range(256)) * 8000
        answer = await client.request(
            destination("a.example"), "POST", "/", body=body, timeout_s=20, limit_bytes=10_000_000
        )
        assert answer.body == body
        nursery.cancel_scope.cancel()
