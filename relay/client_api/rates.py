"""How fast one person may send: a steady rate and a burst on top of it, in memory."""

import math
from collections import OrderedDict

import trio

from relay.base.config import RateConfig
from relay.base.errors import RateLimitedError
from relay.base.ids import UserId
from relay.base.limits import MAX_RATE_ENTRIES


class MessageRate:
    """One bucket a person; it fills with time and a message takes one drop.

    Client-server API, "Rate limiting" (`M_LIMIT_EXCEEDED` with `retry_after_ms`).
    """

    def __init__(self, config: RateConfig) -> None:
        self._per_s = config.message_per_s
        self._burst = config.message_burst
        self._full_at_s: OrderedDict[UserId, float] = OrderedDict()

    def check(self, user: UserId) -> None:
        """Take one.

        Raises:
            RateLimitedError: there is none left; it says how long to wait.
        """
        now_s = trio.current_time()
        # The bucket is kept as the time at which it will be full again: one number, and a full one needs no entry.
        full_at_s = max(self._full_at_s.pop(user, now_s), now_s) + 1 / self._per_s
        wait_s = full_at_s - now_s - self._burst / self._per_s
        if wait_s > 1e-9:
            self._full_at_s[user] = full_at_s - 1 / self._per_s
            raise RateLimitedError("too many messages", retry_after_s=max(math.ceil(wait_s * 1000) / 1000, 0.001))
        self._full_at_s[user] = full_at_s
        if len(self._full_at_s) > MAX_RATE_ENTRIES:
            self._full_at_s.popitem(last=False)
