"""How often a password may be tried, from one address and for one account: guessing takes years."""

import contextlib
import ipaddress
from collections import OrderedDict
from collections.abc import Callable

import trio

from relay.base.config import RateConfig
from relay.base.errors import RateLimitedError
from relay.base.limits import MAX_REMEMBERED_LOGIN_KEYS


class LoginLimits:
    """A bucket of attempts for every address and every account; the ones unused longest are forgotten first."""

    def __init__(self, rate: RateConfig, *, now_s: Callable[[], float] = trio.current_time) -> None:
        self._per_s = rate.login_per_minute / 60
        self._burst = float(rate.login_burst)
        self._now_s = now_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, address: str, account: str) -> None:
        """Take one attempt from both buckets, or from none.

        Raises:
            RateLimitedError: one of them is empty; `retry_after_s` says until when.
        """
        now_s = self._now_s()
        names = _names(address, account)
        levels = [self._level(name, now_s) for name in names]
        if min(levels) < 1:
            raise RateLimitedError("too many attempts to log in", retry_after_s=(1 - min(levels)) / self._per_s)
        for name, level in zip(names, levels, strict=True):
            self._buckets[name] = (level - 1, now_s)
            self._buckets.move_to_end(name)
        while len(self._buckets) > MAX_REMEMBERED_LOGIN_KEYS:
            self._buckets.popitem(last=False)

    def forgive(self, address: str, account: str) -> None:
        """Give the attempt back: the password was right, so nobody was guessing."""
        for name in _names(address, account):
            if name in self._buckets:
                level, at_s = self._buckets[name]
                self._buckets[name] = (min(self._burst, level + 1), at_s)

    def _level(self, name: str, now_s: float) -> float:
        level, at_s = self._buckets.get(name, (self._burst, now_s))
        return min(self._burst, level + (now_s - at_s) * self._per_s)


def _names(address: str, account: str) -> tuple[str, str]:
    # Whoever has an IPv6 address has 2^64 of them.
    if ":" in address:
        with contextlib.suppress(ValueError):
            address = str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    return f"from {address}", f"to {account}"
