"""Home again: after a start every server that shares a room hears from us at once.

An authenticated request makes a server stop backing off; without it nobody resends before something else happens
(`/version` is not enough). Whoever was heard most recently comes first.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from relay.base.errors import RateLimitedError
from relay.base.ids import ServerName
from relay.base.limits import HOME_AGAIN_CALLS_S, HOME_AGAIN_CONCURRENCY, HOME_AGAIN_LOOK_S
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


class LookAgainError(RateLimitedError):
    """The first look after a knock is turned away; the next one is welcome."""

    code = "rate_limited.look_again"


class HomeAgain:
    """Greets after a start, and wakes servers that wait before they send again.

    COMPAT Synapse (1.163 and before): a transaction that failed is tried again after up to 84 s, room keys and all, and
    a signed request ends that wait only when some other request to us has failed meanwhile. The knock asks for such a
    request, a look at somebody's device list; it is turned away once, and what this server says afterwards is heard.
    """

    def __init__(self, ledger: Ledger, outboxes: Outboxes, own: ServerName) -> None:
        self._ledger = ledger
        self._outboxes = outboxes
        self._own = own
        self._looks: dict[ServerName, trio.Event] = {}

    async def run(self) -> None:
        """Greet every server once, a bounded number at a time, and call those again that came to look."""
        servers = await self._ledger.read(order, self._own)
        knocks = await self._ledger.read(_knocks, self._own)
        async with trio.open_nursery() as calls:

            async def greet(server: ServerName) -> None:
                if server in knocks:
                    # Before the knock: the look may come ahead of its answer.
                    look = self._looks[server] = trio.Event()
                    calls.start_soon(self._call_after, look, server)
                    with trio.move_on_after(HOME_AGAIN_LOOK_S):
                        await self._outboxes.knock(server, [knocks[server]])
                await self._outboxes.greet(server)

            await _tell(servers, greet)
            log.info("delivery.peers_greeted", count=len(servers))

    def turn_away_once(self, server: ServerName) -> None:
        """Let `server` look at a device list, unless this is its first look after a knock.

        Raises:
            LookAgainError: it is.
        """
        look = self._looks.get(server)
        if look is not None and not look.is_set():
            look.set()
            raise LookAgainError("this box is just back", retry_after_s=HOME_AGAIN_CALLS_S[-1])

    async def _call_after(self, look: trio.Event, server: ServerName) -> None:
        with trio.move_on_after(HOME_AGAIN_LOOK_S):
            await look.wait()
        del self._looks[server]
        if look.is_set():
            # Several: the first may be there before the server has noted that its look failed.
            with trio.move_on_after(HOME_AGAIN_LOOK_S):
                for pause_s in HOME_AGAIN_CALLS_S:
                    await trio.sleep(pause_s)
                    await self._outboxes.knock(server, [])


def _knocks(index: Index, own: ServerName) -> dict[ServerName, dict[str, Any]]:
    known_to: dict[ServerName, dict[str, Any]] = {}
    for account in accounts.list_accounts(index):
        edu = device_fan_out.look_again(index, account.user)
        if edu is None:
            continue
        for room in members.joined_rooms(index, account.user):
            known_to |= dict.fromkeys(members.joined_servers(index, room), edu)
    return {server: known_to[server] for server in order(index, own) if server in known_to}


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
