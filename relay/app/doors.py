"""The doors of a running house: listening, or taking the sockets that were passed in."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import trio

from relay.admin.operations import Finding
from relay.base.config import ClientConfig, FederationConfig
from relay.base.networks import parse_networks
from relay.box.service import passed_sockets
from relay.transport.message import Endpoint
from relay.transport.server import Server, listen, listen_on
from relay.transport.tls import Identity

# The ledger may take 8 s after this, and the whole stop 10: a long poll would use up any time it is given.
_DRAIN_S = 1.5


class Doors:
    """Opens doors into one nursery; all close when `stop` is set.

    Args:
        identity: what they prove themselves with where they have TLS.
        listening: gets the real address of each door under its name.
    """

    def __init__(
        self,
        identity: Identity | None,
        nursery: trio.Nursery,
        stop: trio.Event,
        listening: dict[str, str],
    ) -> None:
        self._identity = identity
        self._nursery = nursery
        self._stop = stop
        self._listening = listening
        self._passed = passed_sockets()
        self._servers: dict[str, Server] = {}

    async def open(self, name: str, config: ClientConfig | FederationConfig, answer: Endpoint) -> None:
        """Listen, or take the socket of that name that was passed in; note the real address under `name`."""
        tls = self._identity if config.tls else None
        passed = self._passed.get(name)
        door = await listen(config.listen, tls) if passed is None else listen_on(passed, tls)
        server = self._servers[name] = Server(
            answer,
            behind_proxy=parse_networks(f"{name}.behind_proxy", config.behind_proxy),
            proxy_from=parse_networks(f"{name}.proxy_from", config.proxy_from),
            only_known=not config.tls,
        )
        await self._nursery.start(partial(server.run, [door], stop=self._stop, drain_s=_DRAIN_S))
        self._listening[name] = f"{'https' if config.tls else 'http'}://{door.address}"

    def watch(self) -> tuple[dict[str, Any], list[Finding]]:
        """Return how many connections each door has, and what the proxies in front of them do not say."""
        counts = {name: server.connections for name, server in self._servers.items()}
        return {"connections": counts}, [
            finding for name, server in self._servers.items() for finding in _find(name, server)
        ]


def _find(name: str, server: Server) -> Iterator[Finding]:
    said = server.forwarding
    if said.unnamed and not said.named:
        yield Finding(
            "warning",
            f"uplink.no_forwarded_for: the proxy in front of the {name} door does not say whom it speaks for: "
            "everybody shares its rate limits",
            "let it set X-Forwarded-For; hw/home-network.md shows how",
        )
    if said.plain:
        yield Finding(
            "warning",
            f"uplink.plain_proxy: {said.plain} requests reached the proxy in front of the {name} door without TLS",
            "let it redirect http:// to https://: passwords and messages travel readable until it does",
        )
