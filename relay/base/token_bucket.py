"""How fast something may go on: a bucket that fills with time, up to a burst, and is emptied by what is done."""

# Times of day in seconds are not exact to the last bit.
_NOTHING = 1e-6


class TokenBucket:
    """Fills at `per_s` up to `burst`, which it begins with."""

    def __init__(self, *, per_s: float, burst: float, now_s: float) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._seen_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Return how long it takes until one token is there, 0 where it is."""
        # A clock set back must not freeze a bucket: time only ever counts forward from what was seen.
        self._tokens = min(self._burst, self._tokens + max(now_s - self._seen_s, 0.0) * self._per_s)
        self._seen_s = now_s
        missing = 1 - self._tokens
        return missing / self._per_s if missing > _NOTHING else 0.0

    def take(self, now_s: float) -> bool:
        """Take one token; return whether there was one."""
        if self.wait_s(now_s):
            return False
        self._tokens -= 1
        return True

    def spend(self, tokens: float, now_s: float) -> None:
        """Take as many as something turned out to cost, which may be more than there are."""
        self.wait_s(now_s)
        self._tokens -= tokens
