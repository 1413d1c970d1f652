"""A network inside the process: servers at host:port, reached through the real server and client code."""

import trio
import trio.testing

from relay.base.errors import UnreachableError
from relay.transport.client import HttpClient
from relay.transport.destination import Destination
from relay.transport.message import Endpoint
from relay.transport.server import Server


class MemoryNetwork:
    """Implements `Dial` over memory streams; `serve` puts an endpoint at a host and port.

    Attributes:
        http2: whether connections speak HTTP/2.
        dialed: every destination connected to, in order.
        cut: hosts that cannot be reached now.
    """

    def __init__(self, nursery: trio.Nursery, *, http2: bool = False) -> None:
        self._nursery = nursery
        self._servers: dict[tuple[str, int], Server] = {}
        self.http2 = http2
        self.dialed: list[Destination] = []
        self.cut: set[str] = set()
        self.streams: list[trio.abc.Stream] = []

    def serve(self, host: str, port: int, answer: Endpoint) -> None:
        """Answer requests to `host` and `port` with `answer`."""
        self._servers[host, port] = Server(answer)

    async def client(self) -> HttpClient:
        """Return a running client of this network."""
        client = HttpClient(self)
        await self._nursery.start(client.run)
        return client

    async def __call__(self, destination: Destination) -> tuple[trio.abc.Stream, bool]:
        await trio.lowlevel.checkpoint()
        self.dialed.append(destination)
        server = self._servers.get((destination.host, destination.port))
        if server is None or destination.host in self.cut:
            raise UnreachableError("nobody is there")
        ours, theirs = trio.testing.memory_stream_pair()
        self.streams.append(ours)
        self._nursery.start_soon(lambda: server.converse(theirs, address="192.0.2.1", http2=self.http2))
        return ours, self.http2


def destination(host: str, port: int = 8448) -> Destination:
    """Return a destination whose names all follow from `host`."""
    return Destination(host, port, host, f"{host}:{port}")
