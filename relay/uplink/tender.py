"""Keeps the certificate alive while the box serves: when to look, who answers a challenge, what is shown."""

import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from relay.base.clock import Clock, knows_time
from relay.base.config_names import AcmeConfig
from relay.base.errors import ConfigError, RelayError
from relay.base.log import get_logger
from relay.transport.tls import challenge_context
from relay.uplink.acme.places import CERTIFICATE, CHALLENGES, read_record
from relay.uplink.acme.schedule import last_day
from relay.uplink.served import ServedFiles

log = get_logger()

_CLOCK_S = 10.0
# What a process that ended without an answer is given.
_AFTER_FAULT_S = 1800.0
_SLICE_S = 600.0
_DEAD_FOR_S = 60.0
_NAME = re.compile(r"[a-z0-9_.-]{1,255}")

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Has one request carried out by a process that ends with it; raises RelayError."""


class Tender:
    """Has the certificate looked after when that is due, and its challenges answered meanwhile.

    Args:
        state: the state folder.
        settings: who certifies.
        served: what the listeners show.
        ask: does the work.
        clock: the time of day.
        settles_s: how long it takes until the name and the router lead here, after a start.
    """

    def __init__(
        self,
        state: Path,
        settings: AcmeConfig,
        served: ServedFiles,
        ask: Ask,
        clock: Clock,
        *,
        settles_s: float = 0.0,
    ) -> None:
        self._settles_s = settles_s
        self._state = state
        self._settings = settings
        self._served = served
        self._ask = ask
        self._clock = clock
        self._tended = trio.Event()
        self._next_s = 0.0

    async def alive(self) -> None:
        """Wait for the first attempt to renew a certificate that has ended; not for ever."""
        ends_s = read_record(self._state).ends_s if self._settings.directory else 0.0
        if (self._state / CERTIFICATE).exists() and 0 < ends_s <= self._now_s():
            log.warning("uplink.certificate_ended")
            with trio.move_on_after(_DEAD_FOR_S):
                await self._tended.wait()

    def status(self) -> dict[str, Any]:
        """Return what `relay status` shows."""
        record = read_record(self._state)
        return {
            "ends_s": round(record.ends_s),
            "renew_s": round(record.renew_s),
            "next_look_s": round(self._next_s),
            "failed": record.kind,
            "attempts_today": len(last_day(record.orders, self._now_s())),
        }

    async def run(self) -> None:
        """Tend until cancelled."""
        at_start = True
        if not (self._state / CERTIFICATE).exists():
            # Failed validations are counted: the first one is to find its way.
            await trio.sleep(self._settles_s)
        while True:
            if not knows_time(self._clock):
                await trio.sleep(_CLOCK_S)
                continue
            pause_s = await self._tend_once(at_start=at_start)
            at_start = False
            self._tended.set()
            await self._sleep(pause_s)

    async def _tend_once(self, *, at_start: bool) -> float:
        if self._settings.challenge == "tls-alpn-01":
            self._served.identity.challenge = self._answer
        try:
            result = await self._ask({"verb": "certificate_tend", "at_start": at_start})
        except (RelayError, OSError) as error:
            log.warning("uplink.certificate_not_tended", error=type(error).__name__)
            return _AFTER_FAULT_S
        finally:
            self._served.identity.challenge = None
        if failed := result.get("failed"):
            log.warning("uplink.order_failed", kind=failed)
        self._served.look_again()
        return float(result.get("pause_s", _AFTER_FAULT_S))

    def _answer(self, name: str) -> ssl.SSLContext | None:
        """Return what answers the challenge of `name`, None where none is pending."""
        path = self._state / CHALLENGES / f"{name}.pem"
        if not _NAME.fullmatch(name) or not path.exists():
            return None
        try:
            return challenge_context(path)
        except ConfigError:
            return None

    async def _sleep(self, pause_s: float) -> None:
        # A clock that is set later must not make the pause longer than it was meant.
        self._next_s = self._now_s() + pause_s
        end_s = trio.current_time() + pause_s
        while True:
            left_s = min(end_s - trio.current_time(), self._next_s - self._now_s())
            if left_s <= 0:
                return
            await trio.sleep(min(left_s, _SLICE_S))

    def _now_s(self) -> float:
        return self._clock.wall_ms() / 1000
