"""How fast one stranger may ask: a token bucket for each origin, in bounded memory."""

from collections import OrderedDict
from dataclasses import dataclass

from relay.base.clock import Clock
from relay.base.errors import RateLimitedError
from relay.base.limits import MAX_RATE_BUCKETS


@dataclass(slots=True)
class _Bucket:
    tokens: float
    seen_ms: int


class OriginRate:
    """Token buckets that fill at `per_s` up to `burst`; the origins unheard for longest are forgotten first."""

    def __init__(self, *, per_s: float, burst: int, clock: Clock) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def check(self, origin: str) -> None:
        """Say whether `origin` may ask, without counting it.

        Raises:
            RateLimitedError: not yet; `retry_after_s` says when.
        """
        bucket = self._fill(origin)
        if bucket.tokens < 1:
            wait_s = (1 - bucket.tokens) / self._per_s
            raise RateLimitedError("this server asks too often", retry_after_s=wait_s)

    def take(self, origin: str) -> None:
        """Count one request of `origin`.

        Raises:
            RateLimitedError: too many; `retry_after_s` says when the next is welcome.
        """
        self.check(origin)
        self._buckets[origin].tokens -= 1

    def _fill(self, origin: str) -> _Bucket:
        now_ms = self._clock.wall_ms()
        bucket = self._buckets.get(origin)
        if bucket is None:
            bucket = self._buckets[origin] = _Bucket(float(self._burst), now_ms)
            if len(self._buckets) > MAX_RATE_BUCKETS:
                self._buckets.popitem(last=False)
        # A clock set back must not freeze a bucket: time only ever counts forward from what was seen.
        elapsed_s = max(now_ms - bucket.seen_ms, 0) / 1000
        bucket.tokens = min(float(self._burst), bucket.tokens + elapsed_s * self._per_s)
        bucket.seen_ms = now_ms
        self._buckets.move_to_end(origin)
        return bucket
