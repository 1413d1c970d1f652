"""Home again: after a start every server that shares a room hears from us at once.

An authenticated request makes a server stop backing off; without it nobody resends before something else happens
(`/version` is not enough). Whoever was heard most recently comes first.
"""

import trio

from relay.base.ids import ServerName
from relay.base.limits import HOME_AGAIN_CONCURRENCY
from relay.base.log import get_logger
from relay.delivery.outbox import Outboxes
from relay.delivery.outbox_queue import all_standings
from relay.rooms.matrix import members
from relay.store.ledger import Index, Ledger

log = get_logger()


def order(index: Index, own: ServerName) -> list[ServerName]:
    """Return the servers to greet: those that share a room or are owed something, recently heard first."""
    standings = all_standings(index)
    owed = {server for server, standing in standings.items() if standing.queued_bytes}
    servers = (members.all_joined_servers(index) | owed) - {own}
    heard_ms = {server: standing.heard_ms for server, standing in standings.items()}
    return sorted(servers, key=lambda server: (-heard_ms.get(server, 0), server))


async def greet_all(ledger: Ledger, outboxes: Outboxes, own: ServerName) -> None:
    """Greet every server once, a bounded number at a time; return after each has been tried once."""
    servers = await ledger.read(order, own)
    places = trio.CapacityLimiter(HOME_AGAIN_CONCURRENCY)

    async def greet(server: ServerName) -> None:
        async with places:
            await outboxes.greet(server)

    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(greet, server)
            # Started in order and one by one, so that the limiter's queue is in that order too.
            await trio.lowlevel.checkpoint()
    log.info("delivery.peers_greeted", count=len(servers))
