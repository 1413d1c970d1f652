import functools
import http.client
import ssl
from pathlib import Path

import pytest
import trio

from relay.transport.client import HttpClient
from relay.transport.destination import Destination
from relay.transport.dialing import PrivateAddressError, TcpDialer, TlsFailedError
from relay.transport.message import Request, Response
from relay.transport.server import Listening, Server, listen
from relay.transport.tls import Identity, client_context, server_context


async def echo(request: Request) -> Response:
    body = await request.body(1_000_000)
    return Response(200, [("X-Target", request.target), ("X-Address", request.address)], body or b"nothing")


def dialer(certificates: Path, *, allow_private: bool = True) -> TcpDialer:
    return TcpDialer(client_context(certificates / "ca.pem"), allow_private=allow_private, timeout_s=5)


async def start(nursery: trio.Nursery, certificates: Path, stop: trio.Event) -> Listening:
    identity = Identity(server_context(certificates / "cert.pem", certificates / "key.pem"))
    listening = await listen("127.0.0.1:0", identity)
    await nursery.start(functools.partial(Server(echo).run, [listening], stop=stop, drain_s=2))
    return listening


async def test_our_client_reaches_our_server_over_tls_and_the_drain_ends_it(certificates: Path) -> None:
    stop = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listening = await start(nursery, certificates, stop)
            async with trio.open_nursery() as clients:
                client = HttpClient(dialer(certificates))
                await clients.start(client.run)
                there = Destination("127.0.0.1", listening.port, "localhost", "localhost")
                for _ in range(3):
                    answer = await client.request(there, "PUT", "/a?b", body=b"x", timeout_s=5, limit_bytes=99)
                    assert (answer.status, answer.body) == (200, b"x")
                    assert answer.headers.get("x-address") == "127.0.0.1"
                assert client.connections == 1
                clients.cancel_scope.cancel()
            stop.set()


async def test_a_certificate_for_another_name_is_refused(certificates: Path) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        listening = await start(nursery, certificates, stop)
        with pytest.raises(TlsFailedError):
            await dialer(certificates)(Destination("127.0.0.1", listening.port, "b.example", "b.example"))
        stop.set()


async def test_private_addresses_are_not_connected_to_unless_allowed(certificates: Path) -> None:
    with pytest.raises(PrivateAddressError):
        await dialer(certificates, allow_private=False)(Destination("127.0.0.1", 1, "localhost", "localhost"))


async def test_the_standard_librarys_client_is_served(certificates: Path) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        listening = await start(nursery, certificates, stop)

        def ask() -> list[tuple[int, bytes]]:
            context = ssl.create_default_context(cafile=certificates / "ca.pem")
            connection = http.client.HTTPSConnection("localhost", listening.port, timeout=5, context=context)
            answers = []
            try:
                for method, body in (
                    ("GET", None),
                    ("PUT", b"x" * 100_000),
                    ("HEAD", None),
                    ("POST", iter([b"a", b"b"])),
                ):
                    connection.request(method, "/path", body)
                    response = connection.getresponse()
                    answers.append((response.status, response.read()))
            finally:
                connection.close()
            return answers

        answers = await trio.to_thread.run_sync(ask)
        assert answers == [(200, b"nothing"), (200, b"x" * 100_000), (200, b""), (200, b"ab")]
        stop.set()
