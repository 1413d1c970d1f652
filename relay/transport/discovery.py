"""From a Matrix server name to the places where that server may be asked.

Source: Matrix server-server API v1.19, "Resolving server names"; step numbers below are its.
"""

from __future__ import annotations

import contextlib
import ipaddress

import trio

from relay.base.clock import Clock
from relay.base.errors import UnreachableError
from relay.base.ids import ServerName, split_server_name
from relay.transport.client import HttpClient
from relay.transport.destination import Destination
from relay.transport.names import Resolver, in_order
from relay.transport.well_known import WellKnown

_DEFAULT_PORT = 8448
_REMEMBERED_MS = 300_000
_MOST_REMEMBERED = 2000


class Discovery:
    """Finds servers, and remembers for five minutes where they were; one look-up a name at a time.

    Args:
        client: for `.well-known`; its dialer decides about private addresses.
        resolver: for SRV records.
    """

    def __init__(self, client: HttpClient, resolver: Resolver, clock: Clock) -> None:
        self._well_known = WellKnown(client, clock)
        self._resolver = resolver
        self._clock = clock
        self._found: dict[ServerName, tuple[int, list[Destination]]] = {}
        self._looking: dict[ServerName, trio.Event] = {}

    async def resolve(self, server: ServerName) -> list[Destination]:
        """Return where to ask `server`, best place first, at least one.

        Whether anybody answers there is not known yet. A failed look-up is no error: the specification then says what
        to try instead.

        Raises:
            InvalidInputError: `server` is no server name.
        """
        host, port = split_server_name(server)
        plain = _without_look_up(host, port, server)
        if plain is not None:
            return [plain]
        while server in self._looking:
            await self._looking[server].wait()
        until_ms, places = self._found.get(server, (0, []))
        if self._clock.wall_ms() < until_ms:
            return places
        self._looking[server] = looked = trio.Event()
        try:
            places = await self._look_up(host)
        finally:
            del self._looking[server]
            looked.set()
        if len(self._found) >= _MOST_REMEMBERED:
            del self._found[next(iter(self._found))]
        self._found[server] = (self._clock.wall_ms() + _REMEMBERED_MS, places)
        return places

    def forget(self, server: ServerName) -> None:
        """Look again at the next need: nobody answered where `server` was said to be."""
        self._found.pop(server, None)

    async def _look_up(self, host: str) -> list[Destination]:
        delegate = await self._well_known.delegate(host)
        if delegate is None:
            return await self._by_service(host)  # steps 4 to 6
        delegated_host, delegated_port = split_server_name(delegate)
        plain = _without_look_up(delegated_host, delegated_port, delegate)
        if plain is not None:
            return [plain]  # steps 3.1 and 3.2
        return await self._by_service(delegated_host)  # steps 3.3 to 3.5

    async def _by_service(self, host: str) -> list[Destination]:
        for service in ("_matrix-fed._tcp", "_matrix._tcp"):
            with contextlib.suppress(UnreachableError):
                records = in_order(await self._resolver.services(f"{service}.{host}"))
                if records:
                    # The certificate and Host stay with the name that was asked for: DNS alone proves nothing.
                    return [Destination(record.host, record.port, host, host) for record in records]
        return [Destination(host, _DEFAULT_PORT, host, host)]


def _without_look_up(host: str, port: int | None, shown: str) -> Destination | None:
    """Return the place of an IP literal (steps 1 and 3.1) or of an explicit port (2 and 3.2), else None."""
    bare = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return None if port is None else Destination(host, port, host, shown)
    return Destination(bare, _DEFAULT_PORT if port is None else port, bare, shown)
