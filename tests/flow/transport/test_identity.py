"""What listeners show: exchanged while they serve, and to a certificate authority something else."""

import datetime
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from cryptography import x509

from relay.cli.files import write_whole
from relay.transport.message import Request, Response
from relay.transport.server import Server, listen
from relay.transport.tls import Identity, challenge_context, server_context
from relay.uplink.acme.tls_alpn import challenge_certificate

NOW = datetime.datetime.now(datetime.UTC)


async def hello(_request: Request) -> Response:
    return Response(200, body=b"hello")


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(shown_as(tmp_path, "a.example"))


def shown_as(folder: Path, name: str) -> ssl.SSLContext:
    trustme.CA().issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(folder / "pair.pem"))
    return server_context(folder / "pair.pem")


def challenge_in(folder: Path) -> Callable[[str], ssl.SSLContext | None]:
    write_whole(folder / "challenge.pem", challenge_certificate("box.example", "token.print", NOW))
    return lambda name: challenge_context(folder / "challenge.pem") if name == "box.example" else None


async def serving(identity: Identity, act: Callable[[int], Awaitable[None]]) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listening, stop = await listen("127.0.0.1:0", identity), trio.Event()
            await nursery.start(partial(Server(hello).run, [listening], stop=stop, drain_s=1))
            await act(listening.port)
            stop.set()


def names_of(der: bytes | None) -> list[str]:
    certificate = x509.load_der_x509_certificate(der or b"")
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)


async def open_tls(port: int, name: str, protocols: list[str]) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), context, server_hostname=name)
    await stream.do_handshake()
    return stream


async def ask(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    heard = b""
    while b"hello" not in heard:
        data = await stream.receive_some()
        if not data:
            break
        heard += data
    return heard


async def ask_for_ever(stream: trio.SSLStream[trio.SocketStream]) -> None:
    while True:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.sleep(0.01)


async def test_a_new_certificate_is_for_new_connections_and_old_ones_go_on(tmp_path: Path, identity: Identity) -> None:
    async def act(port: int) -> None:
        old = await open_tls(port, "a.example", ["http/1.1"])
        assert b"hello" in await ask(old)
        identity.context = shown_as(tmp_path, "b.example")
        new = await open_tls(port, "a.example", ["http/1.1"])
        assert names_of(new.getpeercert(binary_form=True)) == ["b.example"]
        assert names_of(old.getpeercert(binary_form=True)) == ["a.example"]
        assert b"hello" in await ask(old)
        assert b"hello" in await ask(new)
        for stream in (old, new):
            await trio.aclose_forcefully(stream)

    await serving(identity, act)


async def test_an_authority_gets_the_challenge_and_not_a_byte_more(tmp_path: Path, identity: Identity) -> None:
    identity.challenge = challenge_in(tmp_path)

    async def act(port: int) -> None:
        stream = await open_tls(port, "Box.example", ["acme-tls/1"])
        assert names_of(stream.getpeercert(binary_form=True)) == ["box.example"]
        assert stream.selected_alpn_protocol() == "acme-tls/1"
        with pytest.raises(trio.BrokenResourceError):
            await ask_for_ever(stream)
        await trio.aclose_forcefully(stream)

    await serving(identity, act)


@pytest.mark.parametrize(
    ("name", "protocols"),
    [
        ("box.example", ["h2", "http/1.1"]),
        ("box.example", ["acme-tls/1", "http/1.1"]),
        ("box.example", []),
        ("other.example", ["acme-tls/1"]),
    ],
)
async def test_nobody_else_ever_sees_it(tmp_path: Path, identity: Identity, name: str, protocols: list[str]) -> None:
    identity.challenge = challenge_in(tmp_path)

    async def act(port: int) -> None:
        stream = await open_tls(port, name, protocols)
        assert names_of(stream.getpeercert(binary_form=True)) == ["a.example"]
        assert stream.selected_alpn_protocol() != "acme-tls/1"
        await trio.aclose_forcefully(stream)

    await serving(identity, act)


async def test_while_no_challenge_is_pending_the_protocol_is_an_unknown_one(identity: Identity) -> None:
    async def act(port: int) -> None:
        stream = await open_tls(port, "box.example", ["acme-tls/1"])
        assert names_of(stream.getpeercert(binary_form=True)) == ["a.example"]
        assert stream.selected_alpn_protocol() is None
        await trio.aclose_forcefully(stream)

    await serving(identity, act)


async def test_a_hello_that_comes_in_pieces_and_one_that_is_none_cost_nothing(
    tmp_path: Path, identity: Identity
) -> None:
    identity.challenge = challenge_in(tmp_path)
    outgoing, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    client = context.wrap_bio(incoming, outgoing, server_hostname="box.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    said = outgoing.read()

    async def act(port: int) -> None:
        slow = await trio.open_tcp_stream("127.0.0.1", port)
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        garbage = await trio.open_tcp_stream("127.0.0.1", port)
        await garbage.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        for at in range(0, len(said), 40):
            await slow.send_all(said[at : at + 40])
            await trio.sleep(0.001)
        while True:
            incoming.write(await slow.receive_some())
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        assert names_of(client.getpeercert(binary_form=True)) == ["box.example"]
        assert b"hello" not in bytes(await garbage.receive_some() or b"")
        half = await trio.open_tcp_stream("127.0.0.1", port)
        await half.send_all(said[:50])
        await half.send_eof()
        assert await half.receive_some() == b""
        for stream in (slow, garbage, half):
            await trio.aclose_forcefully(stream)

    await serving(identity, act)
