"""Lets the box's name follow its addresses: looks at them, has changes told, compares what the name says."""

import math
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from relay.base.clock import Clock, knows_time
from relay.base.config_names import DnsConfig
from relay.base.errors import RelayError
from relay.base.log import get_logger
from relay.uplink.addresses import Addresses

log = get_logger()

_LOOK_S = 30.0
_COMPARE_S = 1800.0
# What the world may still remember of an old address, beside the time to live.
_SETTLES_S = 600.0
_FIRST_FAILURE_S = 60.0
_MOST_FAILURE_S = 3600.0
# A provider that alone knows our address has to be asked; each answer that nothing changed makes that rarer.
_BLIND_S = 3600.0
_MOST_BLIND_S = 6 * 3600.0

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class NameFollower:
    """Keeps one name.

    Args:
        settings: who is told, and what.
        name: the name to keep.
        look: the present public addresses.
        ask: has a change told by a process that ends with it.
        clock: the time of day: signatures carry it.
    """

    def __init__(self, settings: DnsConfig, name: str, look: Callable[[], Addresses], ask: Ask, clock: Clock) -> None:
        self._settings = settings
        self._look_around = look
        self._ask = ask
        self._clock = clock
        self._told: Addresses | None = None
        self._told_s = -math.inf
        self._failures = 0
        self._next_s = 0.0
        self._again_s = math.inf
        self._blind_s = _BLIND_S
        self.name = name
        self.here = Addresses()
        self.kind = ""
        self.detail = ""
        self.fatal = False
        self.points_to: list[str] = []

    async def run(self) -> None:
        """Follow until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            nursery.start_soon(self._compare)

    def status(self) -> dict[str, Any]:
        """Return what `relay status` shows."""
        return {"name": self.name, "ipv4": self.here.ipv4, "ipv6": self.here.ipv6, "failed": self.kind}

    @property
    def elsewhere(self) -> list[str]:
        """Where the name points, if that is long since not here."""
        known = {address for address in self.here if address}
        settled = trio.current_time() - self._told_s > self._settings.ttl + _SETTLES_S
        wrong = [address for address in self.points_to if address not in known]
        same_kind = [address for address in wrong if (self.here.ipv6 if ":" in address else self.here.ipv4)]
        return same_kind if known and settled else []

    async def _follow(self) -> None:
        while True:
            self.here = self._look()
            now_s = trio.current_time()
            news = self.here != self._told and (any(self.here) or self._provider_knows)
            due = now_s >= self._next_s and (news or now_s >= self._again_s)
            if due and not self.fatal and knows_time(self._clock):
                await self._tell(self.here)
            await trio.sleep(_LOOK_S)

    @property
    def _provider_knows(self) -> bool:
        return self._settings.method == "dyndns2"

    def _look(self) -> Addresses:
        found = self._look_around()
        return Addresses(found.ipv4 if self._settings.ipv4 else "", found.ipv6 if self._settings.ipv6 else "")

    async def _tell(self, here: Addresses) -> None:
        try:
            result = await self._ask({"verb": "name_update", "ipv4": here.ipv4, "ipv6": here.ipv6})
        except (RelayError, OSError) as error:
            kind = "settings" if isinstance(error, RelayError) and error.code.startswith("config") else "unreachable"
            result = {"kind": kind, "detail": str(error)}
        now_s = trio.current_time()
        self.kind, self.detail = str(result.get("kind", "")), str(result.get("detail", ""))
        self.fatal = result.get("fatal") is True
        if self.kind:
            self._failures += 1
            pause_s = min(_FIRST_FAILURE_S * 2 ** min(self._failures - 1, 20), _MOST_FAILURE_S)
            self._next_s = now_s + max(pause_s, float(result.get("wait_s", 0.0)))
            log.warning("uplink.name_refused", kind=self.kind)
            return
        changed = result.get("changed") is True
        self._told, self._told_s, self._failures = here, now_s, 0
        self._blind_s = _BLIND_S if changed else min(self._blind_s * 2, _MOST_BLIND_S)
        blind = self._provider_knows and self._settings.ipv4 and not here.ipv4
        self._again_s = now_s + self._blind_s if blind else math.inf
        log.info("uplink.name_told")

    async def _compare(self) -> None:
        while True:
            await trio.sleep(_COMPARE_S)
            try:
                found = await trio.socket.getaddrinfo(self.name, None, type=socket.SOCK_STREAM)
            except OSError:
                continue
            self.points_to = sorted({str(entry[4][0]) for entry in found})
