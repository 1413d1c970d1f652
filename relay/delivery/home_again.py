"""Home again: after a start every server that shares a room hears from us at once.

An authenticated request makes a server stop backing off; without it nobody resends before something else happens
(`/version` is not enough). Whoever was heard most recently comes first.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from relay.base.ids import ServerName
from relay.base.limits import HOME_AGAIN_CONCURRENCY, HOME_AGAIN_KNOCKING_S, HOME_AGAIN_QUIET_S
from relay.base.log import get_logger
from relay.delivery import device_fan_out
from relay.delivery.outbox.outboxes import Outboxes
from relay.delivery.outbox.queue import all_standings
from relay.household import accounts
from relay.rooms.matrix.storage import members
from relay.store.ledger import Index, Ledger

log = get_logger()


def order(index: Index, own: ServerName) -> list[ServerName]:
    """Return the servers to greet: those that share a room or are owed something, recently heard first."""
    standings = all_standings(index)
    owed = {server for server, standing in standings.items() if standing.queued_bytes}
    servers = (members.all_joined_servers(index) | owed) - {own}
    heard_ms = {server: standing.heard_ms for server, standing in standings.items()}
    return sorted(servers, key=lambda server: (-heard_ms.get(server, 0), server))


async def knock_all(ledger: Ledger, outboxes: Outboxes, own: ServerName) -> None:
    """Before the door is open, ask every server to look at somebody's device list again.

    COMPAT Synapse (1.163 and before): a transaction that failed is tried again after up to 60 s, room keys and all, and
    a signed request ends that wait only when some other request to us has failed meanwhile. Looking for the device
    list is that request: it finds nobody yet, and what this server asks afterwards is heard.

    Takes `HOME_AGAIN_KNOCKING_S` and `HOME_AGAIN_QUIET_S` at the most; nothing where nobody is to be greeted.
    """
    knocks = await ledger.read(_knocks, own)
    with trio.move_on_after(HOME_AGAIN_KNOCKING_S):
        await _tell(list(knocks), lambda server: outboxes.knock(server, knocks[server]))
    if knocks:
        # The look comes after the answer to the knock; an open door would spoil it.
        await trio.sleep(HOME_AGAIN_QUIET_S)


def _knocks(index: Index, own: ServerName) -> dict[ServerName, dict[str, Any]]:
    known_to: dict[ServerName, dict[str, Any]] = {}
    for account in accounts.list_accounts(index):
        edu = device_fan_out.look_again(index, account.user)
        if edu is None:
            continue
        for room in members.joined_rooms(index, account.user):
            known_to |= dict.fromkeys(members.joined_servers(index, room), edu)
    return {server: known_to[server] for server in order(index, own) if server in known_to}


async def greet_all(ledger: Ledger, outboxes: Outboxes, own: ServerName) -> None:
    """Greet every server once, a bounded number at a time; return after each has been tried once."""
    servers = await ledger.read(order, own)
    await _tell(servers, outboxes.greet)
    log.info("delivery.peers_greeted", count=len(servers))


async def _tell(servers: Sequence[ServerName], tell: Callable[[ServerName], Awaitable[None]]) -> None:
    places = trio.CapacityLimiter(HOME_AGAIN_CONCURRENCY)

    async def tell_one(server: ServerName) -> None:
        async with places:
            await tell(server)

    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(tell_one, server)
            # Started in order and one by one, so that the limiter's queue is in that order too.
            await trio.lowlevel.checkpoint()
