"""The standby as one task: it keeps a target open, sends what there is, and never gets in the way of the house."""

import dataclasses
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from relay.base.clock import Clock
from relay.base.errors import RelayError
from relay.base.limits import MIB
from relay.base.log import get_logger
from relay.delivery.standby.base import send_base
from relay.delivery.standby.course import Course
from relay.delivery.standby.envelope import Sealer
from relay.delivery.standby.following import SealedFiles, send_commits, send_files, send_signs_of_life
from relay.delivery.standby.records import Item
from relay.delivery.standby.tables import begin_start, draw
from relay.delivery.standby.target import Target
from relay.store.ledger import Index, Ledger
from relay.store.snapshot import TooBusyError
from relay.store.workers import Workers
from relay.transport.dialing import ClockNotSetError

_RETRY_FIRST_S = 1.0
_RETRY_MOST_S = 60.0
_BUSY_PAUSE_S = 60.0
# Nobody tells a process that its clock was set.
_CLOCK_PAUSE_S = 2.0
# Whoever answered for so long is tried again at once.
_STEADY_S = 30.0

log = get_logger()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StandbyStatus:
    """How far the copy is, for `relay status`.

    Attributes:
        target: as the settings name it.
        fault: why it is not connected, empty while it is.
        waits_for_clock: whether that is only because the clock was never set.
        sent: the last commit that the target holds.
        newest: the last commit of this box.
        behind_s: for how long some commit has been waiting, in seconds.
        base: the commit that the base at the target holds, None where there is none that connects.
        media_missing: files that are not there yet.
    """

    target: str
    connected: bool
    fault: str
    waits_for_clock: bool
    sent: int
    newest: int
    behind_s: float
    base: int | None
    base_sent_bytes: int
    media_missing: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What the standby copies.

    Attributes:
        name: the box's name, for the other one.
        box: its public id.
        describe: reads what the box is, and its own small files.
        known_files: the ids of the files that people sent.
    """

    name: str
    box: bytes
    ledger: Ledger
    clock: Clock
    workers: Workers
    files: SealedFiles
    describe: Callable[[], Sequence[Item]]
    known_files: Callable[[Index], Collection[str]]


class Standby:
    """Follows the ledger of one house.

    Args:
        open_target: opens the target that the settings name.
    """

    def __init__(
        self,
        house: House,
        target: str,
        open_target: Callable[[], AbstractAsyncContextManager[Target]],
        *,
        base_after_mib: int,
    ) -> None:
        self._house = house
        self._target = target
        self._open_target = open_target
        self._base_after_bytes = base_after_mib * MIB
        self._course: Course | None = None
        self._connected = False
        self._fault = "it has not been reached yet"
        self._waits_for_clock = False
        self._failures = 0
        self._lost_s = time.monotonic()

    async def run(self) -> None:
        """Send until cancelled; whatever fails is tried again."""
        while True:
            begun_s = trio.current_time()
            try:
                await self._send_all()
            except Exception as error:  # noqa: BLE001 - a copy elsewhere must never end the house
                if trio.current_time() - begun_s > _STEADY_S:
                    self._failures = 0
                self._note_fault(_first(error))
            except BaseExceptionGroup as group:
                # The house ends: what broke on the way out is of no interest.
                _, ending = group.split(Exception)
                if ending is not None:
                    raise ending from None
            await trio.sleep(self._pause_s())

    async def finish(self, within_s: float) -> None:
        """At the end of the house, when nothing changes any more: send the rest, so that the next start connects."""
        with trio.move_on_after(within_s):
            await self._house.ledger.drain()
            while self._connected and self._course is not None and self._course.sent < self._house.ledger.sequence:
                await self._course.moved.wait()

    def status(self) -> StandbyStatus:
        """Return how far the copy is."""
        course, newest = self._course, self._house.ledger.sequence
        sent = course.sent if course is not None else 0
        since_s = (course.behind_since_s if course is not None and self._connected else None) or self._lost_s
        behind = sent < newest
        return StandbyStatus(
            target=self._target,
            connected=self._connected,
            fault=self._fault,
            waits_for_clock=self._waits_for_clock,
            sent=sent,
            newest=newest,
            behind_s=round(time.monotonic() - since_s, 1) if behind else 0.0,
            base=course.whole.sequence if course and course.whole and not course.base_wanted else None,
            base_sent_bytes=course.base_bytes if course is not None else 0,
            media_missing=course.media_missing if course is not None else 0,
        )

    async def _send_all(self) -> None:
        house = self._house
        if self._course is None:
            start = await house.ledger.run(begin_start, *draw())
            self._course = Course(house.ledger, house.clock, Sealer(start.key, house.box), start, house.workers)
        course = self._course
        async with self._open_target() as target:
            await course.ask(target)
            self._note_connected()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_commits, course, target)
                nursery.start_soon(send_signs_of_life, course, target, house.name)
                nursery.start_soon(send_files, course, target, house.files, house.known_files)
                nursery.start_soon(self._send_bases, course, target)

    async def _send_bases(self, course: Course, target: Target) -> None:
        while True:
            while not (course.base_wanted or course.held_bytes > self._base_after_bytes):
                await course.moved.wait()
            try:
                await send_base(course, target, self._house.describe, self._house.known_files)
            except TooBusyError:
                await trio.sleep(_BUSY_PAUSE_S)

    def _pause_s(self) -> float:
        if self._waits_for_clock:
            return _CLOCK_PAUSE_S
        delay_s = min(_RETRY_FIRST_S * 2.0 ** min(self._failures - 1, 16), _RETRY_MOST_S)
        return delay_s * (0.5 + secrets.randbelow(512) / 1024)

    def _note_connected(self) -> None:
        self._connected, self._fault, self._waits_for_clock = True, "", False
        log.info("delivery.standby_connected")

    def _note_fault(self, error: BaseException) -> None:
        code = error.code if isinstance(error, RelayError) else type(error).__name__
        if self._connected or not self._failures:
            log.warning("delivery.standby_lost", code=code)
            self._lost_s = time.monotonic()
        self._waits_for_clock = isinstance(error, ClockNotSetError)
        # Not being able to ask is no failure of the target: it is asked as soon as the clock is set.
        self._failures = 1 if self._waits_for_clock else self._failures + 1
        self._connected, self._fault = False, str(error) if isinstance(error, RelayError) else f"an unexpected {code}"
        if self._course is not None:
            self._course.tell()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
