"""How much each source, another server or one person here, has sent lately: a leaking bucket of bytes for each.

A bucket holds what a source may send in a day and is emptied by a day's worth each day: whoever sends too much is
slowed down and refused long before others notice, and is let in again by itself. What has been stored for years does
not count against a source: how much of that stays is for each room's retention. Kept in memory; a start begins afresh.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from relay.base.limits import MAX_INTAKE_SOURCES

DAY_S = 86_400.0


@dataclass(slots=True)
class Bucket:
    """What is known of one source.

    Attributes:
        level_bytes: what it has sent, less what has leaked since.
        seen_s: when `level_bytes` was right.
        next_s: when it may send again while it is slowed down.
        refusals: how often it has been refused since it was last let in.
        queued: how full its own queue was when it was last looked at; 1.0 at its limit.
    """

    level_bytes: float
    seen_s: float
    next_s: float = 0.0
    refusals: int = 0
    queued: float = 0.0


class Intake:
    """The buckets of all sources of one kind, in bounded memory."""

    def __init__(self, day_bytes: int, now_s: Callable[[], float]) -> None:
        self.day_bytes = day_bytes
        self._now_s = now_s
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def bucket(self, source: str) -> Bucket:
        """Return the bucket of `source` as it is now."""
        now_s = self._now_s()
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = Bucket(0.0, now_s)
            if len(self._buckets) > MAX_INTAKE_SOURCES:
                self._forget_one()
        self._leak(bucket, now_s)
        self._buckets.move_to_end(source)
        return bucket

    def drained_in_s(self, bucket: Bucket, to_bytes: float) -> float:
        """Return how long it takes until no more than `to_bytes` are in `bucket`."""
        return max(bucket.level_bytes - to_bytes, 0.0) * DAY_S / self.day_bytes

    def fullest(self, count: int) -> list[tuple[str, int]]:
        """Return the sources that have sent most lately, with bytes, fullest first."""
        now_s = self._now_s()
        for bucket in self._buckets.values():
            self._leak(bucket, now_s)
        found = sorted(self._buckets.items(), key=lambda pair: (-pair[1].level_bytes, pair[0]))
        return [(source, round(bucket.level_bytes)) for source, bucket in found[:count] if bucket.level_bytes >= 1]

    def _leak(self, bucket: Bucket, now_s: float) -> None:
        leaked = (now_s - bucket.seen_s) * self.day_bytes / DAY_S
        bucket.level_bytes = max(bucket.level_bytes - leaked, 0.0)
        bucket.seen_s = now_s

    def _forget_one(self) -> None:
        # Of the ones unheard for longest the emptiest: whoever floods must not be forgotten for it.
        oldest = [source for source, _ in zip(self._buckets, range(32), strict=False)]
        del self._buckets[min(oldest, key=lambda source: self._buckets[source].level_bytes)]
