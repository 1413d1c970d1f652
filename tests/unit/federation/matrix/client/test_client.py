import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
import trio

from relay.base.errors import PeerRefusedError, UnreachableError
from relay.base.ids import ServerName
from relay.base.limits import MAX_JSON_VALUES, MAX_PEER_ROOM_BYTES
from relay.core.matrix.signing import generate
from relay.federation.matrix.authentication import Signed, check, choose
from relay.federation.matrix.client.client import FederationClient, path_of
from relay.transport.destination import Destination
from relay.transport.message import Request, Response
from tests.fakes.network import MemoryNetwork, destination

HERE, OMA = ServerName("box.example"), ServerName("oma.example")
KEY = generate(b"k" * 32, "a1")


class Places:
    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    async def resolve(self, server: ServerName) -> Sequence[Destination]:
        return [destination(host) for host in self.hosts]


class Peer:
    """Answers with what it is told and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[Request, bytes]] = []
        self.response = Response.json({"ok": True})

    async def answer(self, request: Request) -> Response:
        self.requests.append((request, await request.body(10_000)))
        return self.response


@contextlib.asynccontextmanager
async def peer_and_client(*hosts: str) -> AsyncIterator[tuple[Peer, FederationClient]]:
    async with trio.open_nursery() as nursery:
        network, peer = MemoryNetwork(nursery), Peer()
        network.serve("oma.example", 8448, peer.answer)
        client = FederationClient(await network.client(), Places(*(hosts or ("oma.example",))), HERE, KEY, timeout_s=10)
        yield peer, client
        nursery.cancel_scope.cancel()


def signed_content(request: Request, body: bytes) -> None:
    content = orjson.loads(body) if body else None
    (claim,) = choose(request.headers.all("authorization"), OMA)
    assert claim.origin == HERE
    check(claim, {KEY.key_id: KEY.verify_key}, OMA, Signed(request.method, request.target, content))


async def test_a_request_is_signed_as_the_peer_receives_it() -> None:
    async with peer_and_client() as (peer, client):
        room = "!a/b c:oma.example"
        assert await client.get(OMA, path_of("/_matrix/x", room), [("ver", "10"), ("ver", "ä")]) == {"ok": True}
        await client.put(OMA, "/_matrix/y", {"n": 1, "text": "ä"})
        await client.post(OMA, "/_matrix/z", {})
        for request, body in peer.requests:
            signed_content(request, body)
        assert peer.requests[0][0].target == "/_matrix/x/%21a%2Fb%20c%3Aoma.example?ver=10&ver=%C3%A4"
        assert [request.method for request, _ in peer.requests] == ["GET", "PUT", "POST"]


async def test_an_unsigned_request_names_nobody() -> None:
    async with peer_and_client() as (peer, client):
        await client.get(OMA, "/_matrix/key/v2/server", signed=False)
        assert "authorization" not in peer.requests[0][0].headers


async def test_the_next_address_is_tried_where_one_is_silent() -> None:
    async with peer_and_client("gone.example", "oma.example") as (peer, client):
        assert await client.get(OMA, "/_matrix/x") == {"ok": True}
        assert len(peer.requests) == 1


@pytest.mark.parametrize("hosts", [("gone.example",), ()])
async def test_a_server_that_is_nowhere_is_unreachable(hosts: tuple[str, ...]) -> None:
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(nursery)
        client = FederationClient(await network.client(), Places(*hosts), HERE, KEY, timeout_s=10)
        with pytest.raises(UnreachableError):
            await client.get(OMA, "/_matrix/x")
        nursery.cancel_scope.cancel()


REFUSED: dict[str, Any] = {"errcode": "M_LIMIT_EXCEEDED", "error": "slowly", "retry_after_ms": 1500}


@pytest.mark.parametrize(
    ("response", "errcode", "wait_s"),
    [
        (Response.json({"errcode": "M_FORBIDDEN"}, 403), "M_FORBIDDEN", None),
        (Response(404, [], b"<html>"), "", None),
        (Response.json([1], 400), "", None),
        (Response.json(REFUSED, 429), "M_LIMIT_EXCEEDED", 1.5),
        (Response.json(REFUSED, 429, [("Retry-After", "7")]), "M_LIMIT_EXCEEDED", 7),
    ],
)
async def test_a_refusal_says_what_the_peer_said(response: Response, errcode: str, wait_s: float | None) -> None:
    async with peer_and_client() as (peer, client):
        peer.response = response
        with pytest.raises(PeerRefusedError) as caught:
            await client.get(OMA, "/_matrix/x")
        error = caught.value
        assert (error.status, error.errcode, error.retry_after_s) == (response.status, errcode, wait_s)


@pytest.mark.parametrize(
    "response",
    [Response(502), Response.json({"errcode": "M_UNKNOWN"}, 500), Response(200, [], b"no"), Response.json([])],
)
async def test_a_server_in_trouble_is_asked_again_later(response: Response) -> None:
    async with peer_and_client() as (peer, client):
        peer.response = response
        with pytest.raises(UnreachableError):
            await client.get(OMA, "/_matrix/x")


async def test_an_answer_that_is_too_long_is_no_answer() -> None:
    async with peer_and_client() as (peer, client):
        for body in (b'{"a": "' + b"x" * 1000 + b'"}', b'{"a": [' + b"[]," * 300 + b"[]]}"):
            peer.response = Response(200, [], body)
            with pytest.raises(UnreachableError):
                await client.get(OMA, "/_matrix/x", limit_bytes=900)
        peer.response = Response(200, [], b'{"a": [' + b"[]," * MAX_JSON_VALUES + b"[]]}")
        with pytest.raises(UnreachableError):
            await client.get(OMA, "/_matrix/x")
        assert len((await client.get(OMA, "/_matrix/x", limit_bytes=MAX_PEER_ROOM_BYTES))["a"]) == MAX_JSON_VALUES + 1


async def test_a_refusal_of_many_words_is_a_refusal() -> None:
    async with peer_and_client() as (peer, client):
        peer.response = Response(403, [], b'{"errcode": "M_FORBIDDEN", "error": "' + b"x" * 100_000 + b'"}')
        with pytest.raises(PeerRefusedError) as caught:
            await client.get(OMA, "/_matrix/x")
        assert (caught.value.status, caught.value.errcode) == (403, "")
        with pytest.raises(PeerRefusedError):
            async with client.stream(OMA, "/_matrix/x"):
                pass
