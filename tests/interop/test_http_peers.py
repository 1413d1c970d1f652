"""Our HTTP server and client against other people's: curl and Node, HTTP/1.1 and HTTP/2, over TLS."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self

import pytest
import trio

from relay.base.errors import TooLargeError
from relay.transport.client import HttpClient
from relay.transport.destination import Destination
from relay.transport.dialing import TcpDialer
from relay.transport.message import Request, Response
from relay.transport.server import Server, listen
from relay.transport.tls import Identity, client_context, server_context
from tests.fakes.certificates import write_loopback_certificates

pytestmark = pytest.mark.interop

DRIVER = Path(__file__).parent / "drivers" / "http_peer.js"
MEGABYTES = 20_000_000


def program(name: str) -> str:
    """Return the path of a program of this machine; skips where it is missing, which under `CI=true` is a failure."""
    found = shutil.which(name)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not on this machine")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    write_loopback_certificates(folder)
    (folder / "upload.bin").write_bytes(bytes(MEGABYTES))
    return folder


class Zeros:
    """A body of `count` pieces."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.count:
            raise StopAsyncIteration
        self.count -= 1
        return bytes(50_000)


async def answer(request: Request) -> Response:
    if request.path == "/big":
        return Response(200, body=Zeros(MEGABYTES // 50_000), length_bytes=MEGABYTES)
    if request.path == "/chunked":
        return Response(200, body=Zeros(4))
    if request.path == "/upload":
        size = 0
        async for piece in request.stream():
            size += len(piece)
        return Response(200, body=b"%d" % size)
    if request.path == "/small":
        try:
            await request.body(1000)
        except TooLargeError:
            return Response(413, body=b"too large")
    return Response(200, [("X-Target", request.target)], b"hello")


async def with_server(certificates: Path, act: Callable[[int], Awaitable[None]]) -> None:
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            tls = Identity(server_context(certificates / "cert.pem", certificates / "key.pem"))
            listening, stop = await listen("127.0.0.1:0", tls), trio.Event()
            await nursery.start(partial(Server(answer).run, [listening], stop=stop, drain_s=1))
            await act(listening.port)
            stop.set()


async def output_of(*command: str) -> str:
    done = await trio.run_process(command, capture_stdout=True)
    return done.stdout.decode()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/a?x=%20"], "200 5"),
        (["-I", "/a"], "200 0"),
        (["-X", "OPTIONS", "/a"], "200 5"),
        (["/big"], f"200 {MEGABYTES}"),
        (["/chunked"], "200 200000"),
        (["-T", "UPLOAD", "/upload"], "200 8"),
        (["-H", "Expect: 100-continue", "--data-binary", "@UPLOAD", "/upload"], "200 8"),
        (["--data-binary", "@UPLOAD", "/small"], "413 9"),
        (["-T", "UPLOAD", "/small"], "413 9"),
    ],
)
async def test_curl_is_served(version: str, arguments: list[str], expected: str, certificates: Path) -> None:
    curl = program("curl")
    *options, path = [part.replace("UPLOAD", str(certificates / "upload.bin")) for part in arguments]

    async def act(port: int) -> None:
        shown = await output_of(
            *[curl, "-sS", "--max-time", "30", "--cacert", str(certificates / "ca.pem"), version, *options],
            *["-o", str(certificates / "answer"), "-w", "%{http_code} %{size_download} %{http_version}"],
            f"https://127.0.0.1:{port}{path}",
        )
        assert shown == f"{expected} {version.removeprefix('--http')}"

    await with_server(certificates, act)


async def test_node_is_served_many_streams_at_once(certificates: Path) -> None:
    node = program("node")

    async def act(port: int) -> None:
        shown = json.loads(await output_of(node, str(DRIVER), "client", str(certificates), str(port)))
        assert shown == {"statuses": {"200": 120}, "bytes": 20 * 200_000 + 100 * 5}

    await with_server(certificates, act)


@pytest.fixture
async def node_ports(certificates: Path) -> AsyncIterator[dict[str, int]]:
    """Yield the ports of a Node server: h2 and h1."""
    node = program("node")
    process = await trio.lowlevel.open_process([node, str(DRIVER), "server", str(certificates)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with trio.fail_after(20):
            second, first = (await process.stdout.receive_some()).split()
        yield {"h2": int(second), "h1": int(first)}
    finally:
        process.terminate()
        await process.wait()
        await process.stdout.aclose()


@pytest.mark.parametrize("protocol", ["h2", "h1"])
async def test_our_client_is_served_by_node(protocol: str, node_ports: dict[str, int], certificates: Path) -> None:
    place = Destination("127.0.0.1", node_ports[protocol], "localhost", "localhost")
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            dialer = TcpDialer(client_context(certificates / "ca.pem"), allow_private=True, timeout_s=10)
            client = HttpClient(dialer)
            await nursery.start(client.run)
            ask = partial(client.request, place, timeout_s=20, limit_bytes=10_000_000)
            # Larger than any window: flow control both ways.
            assert (await ask("PUT", "/x?y", body=bytes(3_000_000))).body == b"PUT /x?y 3000000"
            assert len((await ask("GET", "/big")).body) == 5_000_000
            async with trio.open_nursery() as crowd:
                for _ in range(100):
                    crowd.start_soon(partial(ask, "POST", "/many", body=b"q" * 80))
            assert client.connections <= 4
            nursery.cancel_scope.cancel()
