import errno
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.base.errors import ConfigError
from relay.base.limits import HANDSHAKE_TIMEOUT_S
from relay.base.networks import parse_networks
from relay.transport import server as server_module
from relay.transport.client import HttpClient
from relay.transport.destination import Destination
from relay.transport.dialing import TcpDialer
from relay.transport.message import Request, Response
from relay.transport.server import Listening, Server, listen, listen_on
from relay.transport.tls import Identity, client_context, server_context
from relay.transport.wire.proxy_protocol import SIGNATURE

HERE, ELSEWHERE = parse_networks("x.y", "127.0.0.1"), parse_networks("x.y", "10.0.0.1")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def show_address(request: Request) -> Response:
    if request.path == "/slow":
        await trio.sleep(0.05)
    return Response(200, body=f"<{request.address}>".encode())


class Open:
    """A running plain server."""

    def __init__(self, server: Server, listening: Listening, stop: trio.Event) -> None:
        self.server, self.listening, self.stop = server, listening, stop
        self.streams: list[trio.SocketStream] = []

    async def connect(self) -> trio.SocketStream:
        self.streams.append(await trio.open_tcp_stream("127.0.0.1", self.listening.port))
        return self.streams[-1]


async def running(server: Server, act: Callable[[Open], Awaitable[None]], *, tls: Any = None) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            listening, stop = await listen("127.0.0.1:0", tls), trio.Event()
            await nursery.start(partial(server.run, [listening], stop=stop, drain_s=1))
            there = Open(server, listening, stop)
            try:
                await act(there)
            finally:
                for stream in there.streams:
                    await trio.aclose_forcefully(stream)
            stop.set()


async def ask(stream: trio.SocketStream, request: bytes = GET) -> bytes:
    await stream.send_all(request)
    heard = b""
    while b">" not in heard:
        data = await stream.receive_some()
        if not data:
            return heard
        heard += data
    return heard


async def ended(stream: trio.SocketStream) -> bool:
    try:
        return await stream.receive_some() == b""
    except trio.BrokenResourceError:
        return True


async def test_one_address_gets_so_many_connections_and_no_more() -> None:
    async def act(there: Open) -> None:
        kept = [await there.connect() for _ in range(3)]
        for stream in kept:
            assert b"<127.0.0.1>" in await ask(stream)
        one_more = await there.connect()
        assert await ended(one_more)
        await kept[0].aclose()
        while there.server.connections == 3:
            await trio.sleep(0)
        assert b"200" in await ask(await there.connect())

    await running(Server(show_address, most_per_address=3), act)


async def test_when_all_places_are_taken_the_longest_idle_connection_makes_room() -> None:
    async def act(there: Open) -> None:
        first, second = await there.connect(), await there.connect()
        for stream in (first, second, first):
            await ask(stream)
        third = await there.connect()
        assert b"200" in await ask(third)
        assert await ended(second)
        assert b"200" in await ask(first)

    await running(Server(show_address, most_connections=2), act)


async def test_when_all_places_are_busy_a_new_connection_is_refused() -> None:
    async def act(there: Open) -> None:
        busy = await there.connect()
        await busy.send_all(GET.replace(b"/ ", b"/slow "))
        await trio.sleep(0.01)
        assert await ended(await there.connect())
        assert b"200" in await busy.receive_some()

    await running(Server(show_address, most_connections=1), act)


async def test_the_proxy_in_front_of_us_tells_the_address_and_strangers_do_not() -> None:
    request = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 10.0.0.1, 198.51.100.7\r\n\r\n")
    nonsense = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: <script>\r\n\r\n")

    async def behind(there: Open) -> None:
        stream = await there.connect()
        assert b"<198.51.100.7>" in await ask(stream, request)
        assert b"<127.0.0.1>" in await ask(stream, nonsense)

    async def direct(there: Open) -> None:
        assert b"<127.0.0.1>" in await ask(await there.connect(), request)

    await running(Server(show_address, behind_proxy=HERE), behind)
    await running(Server(show_address, behind_proxy=ELSEWHERE), direct)
    await running(Server(show_address), direct)


def introduced(address: str) -> bytes:
    source = socket.inet_aton(address)
    return SIGNATURE + b"\x21\x11\x00\x0c" + source + socket.inet_aton("192.0.2.1") + bytes(4)


@pytest.mark.parametrize("secure", [False, True])
async def test_a_trusted_proxy_names_the_address_in_front_of_everything(secure: bool, certificates: Path) -> None:
    tls = Identity(server_context(certificates / "cert.pem", certificates / "key.pem")) if secure else None
    client = client_context(certificates / "ca.pem")
    client.set_alpn_protocols(["http/1.1"])

    async def act(there: Open) -> None:
        for address in ("198.51.100.7", "198.51.100.8"):
            stream: Any = await there.connect()
            await stream.send_all(introduced(address)[:20])
            await trio.sleep(0.01)
            await stream.send_all(introduced(address)[20:])
            if secure:
                stream = trio.SSLStream(stream, client, server_hostname="localhost")
            assert f"<{address}>".encode() in await ask(stream)

    # Each of them has connections of its own: one apiece is enough for two.
    await running(Server(show_address, proxy_from=HERE, most_per_address=1), act, tls=tls)


async def test_too_many_of_one_address_behind_the_proxy_are_refused() -> None:
    async def act(there: Open) -> None:
        streams = [await there.connect() for _ in range(2)]
        for stream in streams:
            await stream.send_all(introduced("198.51.100.7"))
        assert b"200" in await ask(streams[0])
        assert await ended(streams[1])

    await running(Server(show_address, proxy_from=HERE, most_per_address=1), act)


async def test_a_trusted_proxy_without_a_header_and_a_stranger_with_one_are_closed() -> None:
    async def without(there: Open) -> None:
        stream = await there.connect()
        await stream.send_all(GET)
        assert await ended(stream)
        half = await there.connect()
        await half.send_all(introduced("198.51.100.7")[:20])
        await half.send_eof()
        assert await ended(half)

    async def stranger(there: Open) -> None:
        heard = await ask(await there.connect(), introduced("198.51.100.7") + GET)
        assert b"<" not in heard

    await running(Server(show_address, proxy_from=HERE), without)
    await running(Server(show_address, proxy_from=ELSEWHERE), stranger)


async def test_a_proxy_that_says_nothing_at_all_is_not_waited_for(autojump_clock: object) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = Server(show_address, proxy_from=HERE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server._admit_introduced, ours, None, "127.0.0.1")
        assert await theirs.receive_some() == b""
        assert trio.current_time() <= HANDSHAKE_TIMEOUT_S + 1


async def test_a_door_without_tls_knows_this_machine_and_its_proxies_alone() -> None:
    async def act(there: Open) -> None:
        inside, outside = await there.connect(), await there.connect()
        await inside.send_all(introduced("127.0.0.9"))
        assert b"<127.0.0.9>" in await ask(inside)
        await outside.send_all(introduced("198.51.100.7"))
        assert await ended(outside)

    await running(Server(show_address, proxy_from=HERE, only_known=True), act)


async def test_a_drain_finishes_what_has_begun_and_closes_the_rest() -> None:
    answers: list[bytes] = []

    async def act(there: Open) -> None:
        idle, busy = await there.connect(), await there.connect()
        await ask(idle)
        async with trio.open_nursery() as nursery:

            async def slow() -> None:
                answers.append(await ask(busy, GET.replace(b"/ ", b"/slow ")))

            nursery.start_soon(slow)
            await trio.sleep(0.01)
            there.stop.set()
            assert await ended(idle)
        assert b"connection: close" in answers[0].lower()
        with pytest.raises(OSError, match="connect"):
            await there.connect()

    await running(Server(show_address), act)


async def test_a_drain_has_a_deadline() -> None:
    async def never(_request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    with trio.fail_after(3):
        async with trio.open_nursery() as nursery:
            listening, stop = await listen("127.0.0.1:0", None), trio.Event()
            await nursery.start(partial(Server(never).run, [listening], stop=stop, drain_s=0.05))
            stream = await trio.open_tcp_stream("127.0.0.1", listening.port)
            await stream.send_all(GET)
            await trio.sleep(0.01)
            stop.set()
        await stream.aclose()


async def test_without_file_descriptors_the_server_waits_and_goes_on() -> None:
    real = await listen("127.0.0.1:0", None)

    class Short:
        """Fails as the kernel does when the process has no descriptor left, then works."""

        def __init__(self) -> None:
            self.failures = 2

        async def accept(self) -> trio.SocketStream:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "too many open files")
            return await real.listener.accept()

        async def aclose(self) -> None:
            await real.listener.aclose()

        async def __aenter__(self) -> "Short":
            return self

        async def __aexit__(self, *_: object) -> None:
            await self.aclose()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            listening = Listening(Short(), None, real.address, real.port)  # type: ignore[arg-type]
            await nursery.start(Server(show_address).run, [listening])
            stream = await trio.open_tcp_stream("127.0.0.1", real.port)
            assert b"200" in await ask(stream)
            await stream.aclose()
            nursery.cancel_scope.cancel()


async def test_garbage_instead_of_tls_and_silence_cost_only_their_own_connection(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HANDSHAKE_TIMEOUT_S", 0.05)

    async def act(there: Open) -> None:
        garbage, silent = await there.connect(), await there.connect()
        await garbage.send_all(GET)
        await garbage.receive_some()
        assert await ended(garbage)
        assert await ended(silent)
        reset = await there.connect()
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await reset.aclose()
        async with trio.open_nursery() as nursery:
            dialer = TcpDialer(client_context(certificates / "ca.pem"), allow_private=True, timeout_s=5)
            client = HttpClient(dialer)
            await nursery.start(client.run)
            place = Destination("127.0.0.1", there.listening.port, "localhost", "localhost")
            assert (await client.request(place, "GET", "/", timeout_s=5, limit_bytes=99)).status == 200
            nursery.cancel_scope.cancel()

    tls = Identity(server_context(certificates / "cert.pem", certificates / "key.pem"))
    await running(Server(show_address), act, tls=tls)


async def test_an_address_that_is_taken_is_said_to_be_so() -> None:
    first = await listen("127.0.0.1:0", None)
    with pytest.raises(ConfigError, match="cannot listen"):
        await listen(f"127.0.0.1:{first.port}", None)
    with pytest.raises(ConfigError):
        await listen("nowhere.invalid:0", None)
    await first.listener.aclose()


async def test_a_socket_that_was_passed_in_must_be_one_that_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as good:
        taken = listen_on(good, None)
        assert taken.address == f"127.0.0.1:{good.getsockname()[1]}"
    with (
        socket.socket(socket.AF_INET) as idle,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        for wrong in (idle, local, datagrams):
            with pytest.raises(ConfigError, match="no listening internet socket"):
                listen_on(wrong, None)


async def test_all_addresses_means_both_families_where_the_machine_has_both() -> None:
    listening = await listen("[::]:0", None)
    assert listening.address == f"[::]:{listening.port}" or not socket.has_dualstack_ipv6()
    async with trio.open_nursery() as nursery:
        await nursery.start(Server(show_address).run, [listening])
        async with await trio.open_tcp_stream("127.0.0.1", listening.port) as stream:
            assert b"<127.0.0.1>" in await ask(stream)
        nursery.cancel_scope.cancel()


def test_an_ipv6_line_counts_as_one_address() -> None:
    group = server_module._group_of
    assert group("2001:db8:1:2::3") == group("2001:db8:1:2:ffff::1")
    assert group("2001:db8:1:3::3") != group("2001:db8:1:2::3")
    assert group("192.0.2.1") != group("192.0.2.2")
    assert group("") == ""


def test_unusable_certificates_are_said_to_be_so(certificates: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls\.cert"):
        server_context(certificates / "key.pem", certificates / "key.pem")
    with pytest.raises(ConfigError, match=r"the CA .*missing\.pem cannot be used"):
        client_context(tmp_path / "missing.pem")
