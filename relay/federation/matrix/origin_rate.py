"""How fast one stranger may ask: a token bucket for each origin, in bounded memory."""

from collections import OrderedDict

from relay.base.clock import Clock
from relay.base.errors import RateLimitedError
from relay.base.limits import MAX_RATE_BUCKETS
from relay.base.token_bucket import TokenBucket


class OriginRate:
    """Token buckets that fill at `per_s` up to `burst`; the origins unheard for longest are forgotten first."""

    def __init__(self, *, per_s: float, burst: int, clock: Clock) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def check(self, origin: str) -> None:
        """Say whether `origin` may ask, without counting it.

        Raises:
            RateLimitedError: not yet; `retry_after_s` says when.
        """
        if wait_s := self._bucket(origin).wait_s(self._now_s()):
            raise RateLimitedError("this server asks too often", retry_after_s=wait_s)

    def take(self, origin: str) -> None:
        """Count one request of `origin`.

        Raises:
            RateLimitedError: too many; `retry_after_s` says when the next is welcome.
        """
        self.check(origin)
        self._buckets[origin].take(self._now_s())

    def _bucket(self, origin: str) -> TokenBucket:
        bucket = self._buckets.get(origin)
        if bucket is None:
            bucket = TokenBucket(per_s=self._per_s, burst=self._burst, now_s=self._now_s())
            self._buckets[origin] = bucket
            if len(self._buckets) > MAX_RATE_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(origin)
        return bucket

    def _now_s(self) -> float:
        return self._clock.wall_ms() / 1000
