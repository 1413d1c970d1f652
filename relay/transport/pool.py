"""Connections to peers, kept for the next request: a bounded number for each destination, closed when idle.

Rule: whatever another task can see changes between awaits only, so a cancellation finds nothing half done.
"""

from __future__ import annotations

import dataclasses

import trio

from relay.base.errors import UnreachableError
from relay.base.limits import MAX_CONNECTIONS_PER_DESTINATION, MAX_KEPT_CLIENT_CONNECTIONS
from relay.transport.destination import Destination
from relay.transport.dialing import Dial
from relay.transport.link import Link
from relay.transport.wire.events import Wire
from relay.transport.wire.http1 import Http1


@dataclasses.dataclass(slots=True)
class _Peer:
    """All connections to one destination."""

    links: list[Link] = dataclasses.field(default_factory=list)
    dialing: int = 0
    multiplexed: bool = False
    waiting: trio.lowlevel.ParkingLot = dataclasses.field(default_factory=trio.lowlevel.ParkingLot)

    def wake(self) -> None:
        """Have all who wait for a link look again."""
        self.waiting.unpark_all()


class Pool:
    """Gives out links; needs a nursery, which `HttpClient.run` provides.

    Args:
        dial: makes connections.
        most_per_destination: connections to one destination at the same time.
        most_kept: connections to all of them; one more closes an idle one, and waits for none.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        most_per_destination: int = MAX_CONNECTIONS_PER_DESTINATION,
        most_kept: int = MAX_KEPT_CLIENT_CONNECTIONS,
    ) -> None:
        self._dial = dial
        self._most = most_per_destination
        self._most_kept = most_kept
        self._peers: dict[Destination, _Peer] = {}
        self.nursery: trio.Nursery | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return sum(len(peer.links) for peer in self._peers.values())

    async def link(self, destination: Destination, *, fresh: bool = False) -> tuple[Link, bool]:
        """Return a link on which a call fits right now, and whether it was used before; begin before the next await.

        With `fresh`, a link that may have gone stale is not taken.

        Raises:
            UnreachableError: no connection came about.
        """
        peer = self._peers.setdefault(destination, _Peer())
        try:
            while True:
                free = next((link for link in peer.links if link.free), None)
                if free is not None and not fresh:
                    return free, True
                if fresh and free is not None and free.idle:
                    free.drop()
                    peer.links.remove(free)
                    continue
                if len(peer.links) + peer.dialing < self._most and not (peer.multiplexed and peer.dialing):
                    return await self._connect(destination, peer), False
                await peer.waiting.park()
                # The last link may have ended meanwhile, and its peer with it.
                peer = self._peers.setdefault(destination, peer)
        finally:
            self._tidy(destination, peer)

    async def _connect(self, destination: Destination, peer: _Peer) -> Link:
        self._make_room()
        peer.dialing += 1
        try:
            stream, http2 = await self._dial(destination)
        finally:
            peer.dialing -= 1
            # Whether this one failed or can carry several calls: those who wait must look again.
            peer.wake()
        if self.nursery is None:
            await trio.aclose_forcefully(stream)
            raise UnreachableError("the box is stopping")
        wire: Wire
        if http2:
            from relay.transport.wire.http2 import Http2

            wire = Http2(server=False)
        else:
            wire = Http1(server=False)
        link = Link(stream, wire, self.nursery, peer.wake)
        peer.links.append(link)
        peer.multiplexed = http2
        self.nursery.start_soon(self._run, destination, peer, link)
        return link

    def _make_room(self) -> None:
        """Close the connection that has been idle longest if as many are kept as may be: each costs tens of KiB."""
        if self.connections < self._most_kept:
            return
        idle = [(peer, link) for peer in self._peers.values() for link in peer.links if link.idle]
        if idle:
            peer, link = min(idle, key=lambda kept: kept[1].idle_since_s)
            link.drop()
            peer.links.remove(link)

    async def _run(self, destination: Destination, peer: _Peer, link: Link) -> None:
        try:
            await link.run()
        finally:
            if link in peer.links:
                peer.links.remove(link)
            peer.wake()
            self._tidy(destination, peer)

    def _tidy(self, destination: Destination, peer: _Peer) -> None:
        if not peer.links and not peer.dialing and not peer.waiting and self._peers.get(destination) is peer:
            del self._peers[destination]
