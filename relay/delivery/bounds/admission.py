"""Whether something new is taken in: slowed down from 80 % of a limit, refused from 95 %, nothing lost either way.

Whoever is refused keeps what it wanted to send: a server its whole transaction, an app its request; both protocols have
the same answer for it, 429 with the time to wait (Client-Server API v1.19, "Rate limiting"; servers send a transaction
again until it is answered with 200, Server-Server API v1.19, "Transactions"). Deleting, redacting, leaving, reading,
syncing and logging in and out never pass through here.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from relay.base.config import LimitsConfig
from relay.base.errors import ForbiddenError, QueueFullError, RateLimitedError
from relay.base.ids import ServerName, UserId
from relay.base.limits import MAX_REFUSED_SERVERS, MIB, REFUSE_SHARE
from relay.base.log import get_logger
from relay.delivery.bounds.intake import Bucket, Intake
from relay.delivery.bounds.levels import Level, pressure

log = get_logger()

PACE_FIRST_S = 0.25
PACE_MOST_S = 8.0
REFUSED_FIRST_S = 5.0
REFUSED_MOST_S = 600.0
_LOOK_EVERY_S = 1.0


class SlowDownError(RateLimitedError):
    """A limit is near: the same again a little later."""

    code = "rate_limited.slow_down"


class LimitReachedError(QueueFullError):
    """A limit is reached; the message names it. The sender keeps what it wanted to send."""

    code = "queue.limit_reached"


class BoxFullError(LimitReachedError):
    """The box as a whole takes in nothing new until there is room again."""

    code = "queue.box_full"


class FileQuotaError(ForbiddenError):
    """One person has as many files as one may have; asking again soon would not help."""

    code = "forbidden.file_quota"


class Gauges(Protocol):
    """What can fill up, as it is now; asked for at every request, so it must be cheap."""

    def levels(self) -> Sequence[Level]:
        """Return what everything new takes room in."""
        ...


class Admission:
    """Decides at the doors. Every decision is made from numbers in memory."""

    def __init__(self, config: LimitsConfig, gauges: Gauges, *, now_s: Callable[[], float] = trio.current_time) -> None:
        self._gauges = gauges
        self._now_s = now_s
        self.servers = Intake(config.server_mib_per_day * MIB, now_s)
        self.people = Intake(config.user_mib_per_day * MIB, now_s)
        self.refused_count = 0
        self.slowed_count = 0
        self._refused: dict[ServerName, None] = {}
        self._someone_waits = trio.Event()
        self._warned = False

    def take_from_server(self, origin: ServerName, size_bytes: int) -> None:
        """Let another server send `size_bytes`.

        Raises:
            SlowDownError: not yet; it, or the box, is near a limit.
            LimitReachedError: it, or the box, is at a limit.
        """
        try:
            self._take(self.servers, origin, size_bytes)
        except BoxFullError:
            if len(self._refused) < MAX_REFUSED_SERVERS:
                self._refused[origin] = None
                self._someone_waits.set()
            raise
        self._refused.pop(origin, None)

    def take_from_user(self, user: UserId, size_bytes: int) -> None:
        """Let somebody of the family send `size_bytes`. Errors as `take_from_server`."""
        self._take(self.people, user, size_bytes)

    def count_from_user(self, user: UserId, size_bytes: int) -> None:
        """Count what somebody was let in with, where its size is known only afterwards."""
        self.people.bucket(user).level_bytes += size_bytes

    def take_file(self, user: UserId, own: Level, every: Level) -> None:
        """Let somebody of the family upload a file.

        Raises:
            FileQuotaError: the files of this person are at their limit (Client-Server API v1.19, "Content repository":
                403 `M_FORBIDDEN` for "a quota for uploaded content").
            LimitReachedError: the files of all together are.
            SlowDownError: not yet; one of the limits is near.
        """
        bucket = self.people.bucket(user)
        if own.pressure >= 1.0:
            self.refused_count += 1
            raise FileQuotaError(f"your files take {own.held_bytes} bytes; they may take {own.limit_bytes}")
        if every.pressure >= 1.0:
            raise self._refuse(LimitReachedError(f"this box has no more room: {every.what}"), bucket)
        self._pace(bucket, max(own.pressure, every.pressure))

    def note_queue(self, origin: ServerName, share: float) -> None:
        """Note how full the queue of a server's own events is; 1.0 at its limit."""
        self.servers.bucket(origin).queued = share

    @property
    def mode(self) -> str:
        """Return what happens to whoever wants to send, in a word."""
        worst = self.total_pressure
        return "open" if worst <= 0.0 else "slowed down" if worst < 1.0 else "refused"

    @property
    def growing_is_welcome(self) -> bool:
        """Return whether work that nobody waits for, and that only adds, may go on."""
        return self.total_pressure < 1.0

    @property
    def total_pressure(self) -> float:
        """Return the pressure of what is fullest in the whole box."""
        worst = max((level.pressure for level in self._gauges.levels()), default=0.0)
        self._warn(worst)
        return worst

    async def next_relieved(self) -> list[ServerName]:
        """Return servers that were turned away, once the box as a whole has room again; they need not be told twice."""
        await self._someone_waits.wait()
        self._someone_waits = trio.Event()
        while self.total_pressure >= 1.0:  # noqa: ASYNC110 - nothing announces that others made room on the card
            await trio.sleep(_LOOK_EVERY_S)
        relieved = list(self._refused)
        self._refused.clear()
        return relieved

    def _take(self, intake: Intake, source: str, size_bytes: int) -> None:
        bucket = intake.bucket(source)
        total = self.total_pressure
        if total >= 1.0:
            raise self._refuse(BoxFullError(f"this box is full: {self._name_of_worst()}"), bucket)
        # Near the end of the room there is, whoever sent much lately has to wait for those who did not.
        share = bucket.level_bytes / (intake.day_bytes * (1.0 - total))
        if share >= REFUSE_SHARE:
            known_s = intake.drained_in_s(bucket, REFUSE_SHARE * intake.day_bytes * (1.0 - total))
            raise self._refuse(LimitReachedError("this is all that one may send in a day"), bucket, known_s)
        self._pace(bucket, max(total, pressure(share), pressure(bucket.queued)))
        bucket.level_bytes += size_bytes
        bucket.refusals = 0

    def _pace(self, bucket: Bucket, slowness: float) -> None:
        if slowness <= 0.0:
            return
        now_s = self._now_s()
        if now_s < bucket.next_s:
            self.slowed_count += 1
            raise SlowDownError("a limit is near: slower, please", retry_after_s=bucket.next_s - now_s)
        bucket.next_s = now_s + PACE_FIRST_S * (PACE_MOST_S / PACE_FIRST_S) ** slowness

    def _refuse(self, error: LimitReachedError, bucket: Bucket, known_s: float | None = None) -> LimitReachedError:
        self.refused_count += 1
        growing_s = REFUSED_FIRST_S * 2.0 ** min(bucket.refusals, 20)
        bucket.refusals += 1
        error.retry_after_s = min(growing_s if known_s is None else max(known_s, 1.0), REFUSED_MOST_S)
        return error

    def _name_of_worst(self) -> str:
        return max(self._gauges.levels(), key=lambda level: level.share).what

    def _warn(self, worst: float) -> None:
        if worst >= 1.0 and not self._warned:
            log.warning("delivery.intake_refused", kind=self._name_of_worst())
        elif worst <= 0.0 and self._warned:
            log.info("delivery.intake_resumed")
        self._warned = worst >= 1.0 or (self._warned and worst > 0.0)
