"""The committer: everything waiting becomes one commit, and whoever waits for it hears when it is on flash."""

import dataclasses
import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable

import trio

from relay.base.errors import StorageError
from relay.base.limits import LAZY_COMMIT_S, MAX_COMMIT_BYTES, MAX_LAZY_CHANGES, MAX_UNDURABLE_BYTES
from relay.store.faults import is_no_room, storage_error
from relay.store.journal import Journal
from relay.store.wakeups import Signal, Wakeups
from relay.store.workers import Workers

_MAX_GATHER_S = 0.005
_MAX_UNDONE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class PendingChange:
    """A change that the index shows and the journal does not hold yet."""

    position: int
    packed: bytes
    lazy: bool
    patient: bool
    topics: tuple[Hashable, ...]


class Committer:
    """Writes pending changes to the journal, in order.

    Attributes:
        durable_position: every firm change up to here is on flash.
        failure: why nothing is taken in any more, None while all is well.
    """

    def __init__(
        self,
        journal: Journal,
        workers: Workers,
        wakeups: Wakeups,
        position: int,
        *,
        make_room: Callable[[], Awaitable[None]],
        on_failure: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._workers = workers
        self._wakeups = wakeups
        self._make_room = make_room
        self._on_failure = on_failure
        self._pending: deque[PendingChange] = deque()
        self._pending_bytes = 0
        self._firm_pending = 0
        self._forced = False
        self._committing = False
        self._begun_s = 0.0
        self._lazy_since_s: float | None = None
        self._work = Signal()
        self._moved = trio.Event()
        self._batch_size = 1
        self._commit_s = 0.0
        self._stopped = trio.Event()
        self._resumed = trio.Event()
        # Positions (after, up to) of changes that a failure took back: nobody may be told that they are durable.
        self._undone: list[tuple[int, int]] = []
        self.durable_position = position
        self.failure: Exception | None = None

    def add(self, change: PendingChange) -> None:
        """Take in a change that was just applied."""
        self._pending.append(change)
        self._pending_bytes += len(change.packed)
        if not change.lazy:
            self._firm_pending += 1
        elif not change.patient and self._lazy_since_s is None:
            self._lazy_since_s = trio.current_time()
        self._work.ring()

    @property
    def lasts_s(self) -> float:
        """Return for how long flash has not finished the commit under way, 0 where none is."""
        return trio.current_time() - self._begun_s if self._committing else 0.0

    async def wait_durable(self, position: int) -> None:
        """Return when the journal holds every firm change up to `position`.

        Raises:
            StorageError: flash failed before that.
        """
        while True:
            if any(after < position <= up_to for after, up_to in self._undone):
                raise StorageError("flash refused the change: it was undone")
            if self.durable_position >= position:
                return
            if self.failure is not None:
                raise StorageError("flash refused the change: nothing is taken in for now")
            await self._moved.wait()

    async def wait_committed(self, sequence: int) -> None:
        """Return when the journal holds a commit after `sequence`, lazy changes included.

        Raises:
            StorageError: flash failed: there will be none.
        """
        while self._journal.sequence <= sequence:
            if self.failure is not None:
                raise StorageError("flash failed: there are no more commits")
            await self._moved.wait()

    async def wait_below_limit(self) -> None:
        """Return when less waits for flash than memory may hold."""
        while self._pending_bytes > MAX_UNDURABLE_BYTES and self.failure is None:
            await self._moved.wait()

    async def drain(self) -> None:
        """Return when nothing is pending, lazy changes included, or flash has failed."""
        # What is under way counts too: the index may not be committed before the journal holds it.
        while (self._pending or self._committing) and self.failure is None:
            self._forced = True
            self._work.ring()
            await self._moved.wait()

    def drop_pending(self, position: int, highest: int) -> None:
        """Forget what is pending: the index was taken back to `position`, from `highest`."""
        if highest > position:
            self._undone.append((position, highest))
            if len(self._undone) > _MAX_UNDONE:
                # Too much is called undone rather than too little.
                self._undone[:2] = [(self._undone[0][0], self._undone[1][1])]
        self._pending.clear()
        self._pending_bytes = self._firm_pending = 0
        self._lazy_since_s = None
        self.durable_position = position

    def fail(self, error: Exception) -> None:
        """Take nothing in any more; whoever waits for flash hears of it."""
        if self.failure is None:
            self.failure = error
            self._on_failure()
        self._work.ring()
        self._announce()

    def resume(self, position: int) -> None:
        """Take changes in again, numbered after `position`; everything durable is in the index."""
        self.durable_position = position
        self.failure = None
        self._stopped = trio.Event()
        self._resumed.set()
        self._resumed = trio.Event()
        self._announce()

    async def wait_stopped(self) -> None:
        """Return when no commit is under way, after a failure."""
        await self._stopped.wait()

    async def commit_forever(self) -> None:
        """Commit whatever is added, while flash takes it."""
        while True:
            while self.failure is None:
                await self._commit_next()
            self._stopped.set()
            await self._resumed.wait()

    async def _commit_next(self) -> None:
        await self._wait_until_due()
        await self._gather()
        if self.failure is not None:
            return
        batch = self._take_batch()
        payload = b"".join(change.packed for change in batch)
        self._begun_s = trio.current_time()
        self._committing = True
        try:
            if not self._journal.has_room(len(payload)):
                await self._make_room()
            await self._workers.run(self._journal.commit, payload)
        except (OSError, StorageError) as error:
            self.fail(storage_error("", error) if is_no_room(error) else error)
            return
        finally:
            self._committing = False
        self._commit_s = trio.current_time() - self._begun_s
        self.durable_position = batch[-1].position
        self._announce()
        for change in batch:
            if not change.lazy:
                self._wakeups.ring(change.topics)

    async def _wait_until_due(self) -> None:
        while self.failure is None and not self._is_due():
            deadline_s = math.inf if self._lazy_since_s is None else self._lazy_since_s + LAZY_COMMIT_S
            with trio.move_on_at(deadline_s):
                await self._work.wait()

    def _is_due(self) -> bool:
        if not self._pending:
            self._forced = False
            return False
        overdue = self._lazy_since_s is not None and trio.current_time() >= self._lazy_since_s + LAZY_COMMIT_S
        many = len(self._pending) >= MAX_LAZY_CHANGES or self._pending_bytes >= MAX_COMMIT_BYTES
        return bool(self._firm_pending) or self._forced or overdue or many

    async def _gather(self) -> None:
        # Senders that a commit released come back one by one: waiting a moment, never longer than a commit takes,
        # lets them share the next one. A lone sender is never kept waiting.
        if self._batch_size > 1 and len(self._pending) < self._batch_size:
            with trio.move_on_after(min(_MAX_GATHER_S, self._commit_s)):
                while len(self._pending) < self._batch_size and self.failure is None:
                    await self._work.wait()

    def _take_batch(self) -> list[PendingChange]:
        batch = [self._pending.popleft()]
        size = len(batch[0].packed)
        while self._pending and size + len(self._pending[0].packed) <= MAX_COMMIT_BYTES:
            batch.append(self._pending.popleft())
            size += len(batch[-1].packed)
        self._pending_bytes -= size
        self._firm_pending -= sum(not change.lazy for change in batch)
        left_lazy = any(change.lazy and not change.patient for change in self._pending)
        self._lazy_since_s = trio.current_time() if left_lazy else None
        self._batch_size = len(batch)
        return batch

    def _announce(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
