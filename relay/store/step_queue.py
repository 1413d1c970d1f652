"""Steps run one after another, each seeing all before it; nothing else touches the index."""

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

import apsw
import trio

from relay.base.errors import DamagedError, RelayError, StorageError
from relay.base.limits import MAX_UNDURABLE_BYTES
from relay.base.log import get_logger
from relay.store.checkpoint import Checkpointer
from relay.store.committer import Committer, PendingChange
from relay.store.faults import is_no_room, storage_error
from relay.store.index import Change, Index
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.names import Names
from relay.store.replay import replay
from relay.store.wakeups import Signal, Wakeups
from relay.store.workers import Workers

_MAX_BATCH = 32
_FIRST_TRY_S = 1.0
_MAX_TRY_S = 30.0

log = get_logger()


@dataclasses.dataclass(slots=True, eq=False)
class Request:
    """One step on its way through the queue.

    Attributes:
        seen: the last firm change the step could have seen or written.
        error: what the step raised.
    """

    step: Callable[..., Any]
    args: tuple[Any, ...]
    writes: bool
    done: trio.Event = dataclasses.field(default_factory=trio.Event)
    cancelled: bool = False
    value: Any = None
    error: Exception | None = None
    seen: int = 0


class StepQueue:
    """Runs steps in batches on a worker thread: one hop for everything that waits.

    Attributes:
        position: the last change applied.
        firm_position: the last change applied that is not lazy.
    """

    def __init__(
        self,
        index: IndexFile,
        names: Names,
        journal: Journal,
        *,
        workers: Workers,
        wakeups: Wakeups,
        committer: Committer,
        checkpointer: Checkpointer,
        position: int,
    ) -> None:
        self._index = index
        self._names = names
        self._journal = journal
        self._workers = workers
        self._wakeups = wakeups
        self._committer = committer
        self._checkpointer = checkpointer
        self._waiting: deque[Request] = deque()
        self._work = Signal()
        self._lost = False
        self._rebuilt = False
        self._applied: list[PendingChange] = []
        self._early: list[Hashable] = []
        self._stopping = False
        self._stopped = trio.Event()
        self._tries = 0
        self._resumed_s = -math.inf
        self._next_try_s = math.inf
        self._highest = position
        self.position = position
        self.firm_position = position

    def only_read(self, fault: RelayError) -> None:
        """Take no changes in, from the start on."""
        self._rebuilt = True
        self._committer.fail(fault)

    def wake(self) -> None:
        """Let the queue look after the index even if no step waits."""
        self._work.ring()

    async def submit(self, step: Callable[..., Any], args: tuple[Any, ...], *, writes: bool) -> Request:
        """Return the finished request; the caller looks at its error and waits for flash.

        Raises:
            StorageError: the ledger is closing.
        """
        if self._stopping:
            raise StorageError("the box is stopping")
        request = Request(step, args, writes)
        self._waiting.append(request)
        self._work.ring()
        try:
            await request.done.wait()
        except trio.Cancelled:
            request.cancelled = True
            raise
        return request

    async def run_forever(self) -> None:
        """Run what is submitted until `stop`, which finishes what waits."""
        while not (self._stopping and not self._waiting):
            if not self._waiting:
                with trio.move_on_at(self._next_try_s):
                    await self._work.wait()
            await self._tend()
            batch = [self._waiting.popleft() for _ in range(min(_MAX_BATCH, len(self._waiting)))]
            if batch:
                run = await self._workers.run(self._run_batch, batch)
                self._waiting.extendleft(reversed(batch[run:]))
                self._settle(batch[:run])
        self._stopped.set()

    async def stop(self) -> None:
        """Take no more steps, and return when those that wait have run."""
        self._stopping = True
        self._work.ring()
        await self._stopped.wait()

    async def _tend(self) -> None:
        await self._committer.wait_below_limit()
        if self._checkpointer.must_wait:
            await self._checkpointer.wait_copied()
        if self._committer.failure is None and self._checkpointer.due:
            await self.checkpoint()
        if self._committer.failure is None and self._checkpointer.undone:
            await self._renew_index()
        if self._committer.failure is not None and not self._rebuilt:
            await self._rebuild()
        if trio.current_time() >= self._next_try_s and not self._stopping:
            await self._try_again()

    async def checkpoint(self) -> None:
        """Close the gate, wait until the journal holds all that is applied, commit the index, start the copy."""
        await self._committer.drain()
        if self._committer.failure is not None:
            return
        try:
            await self._checkpointer.commit_index(self.position)
        except StorageError as error:
            self._committer.fail(error)

    async def _renew_index(self) -> None:
        # The journal holds everything since the last complete copy: nothing is lost with the log.
        await self._checkpointer.wait_copied()
        await self._committer.drain()
        if self._committer.failure is None:
            await self._go_back()
            self._checkpointer.wanted = True
        if self._lost or self._checkpointer.distrusted_count > 1:
            self._committer.fail(storage_error("the index cannot be written", self._checkpointer.error))

    async def _rebuild(self) -> None:
        # What the index shows beyond flash must be seen by nobody: back to the file, then forward along the journal.
        self._rebuilt = True
        await self._committer.wait_stopped()
        log.error("store.intake_stopped", error=type(self._committer.failure).__name__)
        await self._checkpointer.wait_copied()
        await self._go_back()
        self._committer.drop_pending(self.position, self._highest)
        if trio.current_time() > self._resumed_s + _MAX_TRY_S:
            self._tries = 0
        self._plan_try()

    def _plan_try(self) -> None:
        # A full card is no broken card: everything goes on when somebody has made room.
        if self._lost or is_no_room(self._committer.failure):
            self._next_try_s = trio.current_time() + min(_FIRST_TRY_S * 2**self._tries, _MAX_TRY_S)
            self._tries = min(self._tries + 1, 10)
        else:
            self._next_try_s = math.inf

    async def _try_again(self) -> None:
        """Begin anew from what the journal holds, in the index and on flash; on success take changes in again."""
        async with self._checkpointer.still:
            await self._workers.run(self._index.roll_back)
        await self._checkpointer.complete_copy()
        await self._go_back()
        settled = False
        if not self._lost and is_no_room(self._committer.failure):
            settled = await self._checkpointer.settle(self.position)
        if not settled:
            self._plan_try()
            return
        self._journal.trust_again()
        # Positions that were given to changes which are undone never mean others.
        self.position = self.firm_position = self._highest
        self._rebuilt, self._resumed_s, self._next_try_s = False, trio.current_time(), math.inf
        self._committer.resume(self.position)
        log.warning("store.intake_resumed", sequence=self._journal.sequence)

    async def _go_back(self) -> None:
        async with self._checkpointer.still:
            await self._workers.run(self._return_to_journal)

    def _return_to_journal(self) -> None:
        try:
            if self._checkpointer.log_suspect:
                self._index.discard_log()
                self._checkpointer.log_suspect = False
            self._index.roll_back()
            self._checkpointer.undone = False
            position = replay(self._index, self._journal, up_to=self._journal.sequence)
            self.position = self.firm_position = max(position, self._committer.durable_position)
            self._names.load()
            self._lost = False
        except (apsw.Error, OSError, RelayError) as error:
            if not self._lost:
                log.critical("store.index_lost", error=type(error).__name__)
            self._lost = True

    def _run_batch(self, batch: list[Request]) -> int:
        count = size_bytes = 0
        for request in batch:
            if not request.cancelled:
                size_bytes += self._run(request)
            count += 1
            if size_bytes > MAX_UNDURABLE_BYTES:
                break
        self._checkpointer.measure()
        return count

    def _run(self, request: Request) -> int:
        if self._lost:
            request.error = StorageError("the index is not what flash holds")
            return 0
        if not request.writes:
            try:
                request.value = request.step(Index(self._index, self._names, self.position), *request.args)
            except Exception as error:  # noqa: BLE001 - handed to whoever asked
                request.error = _named(error)
            request.seen = self.firm_position
            return 0
        size_bytes = 0
        change = Change(self._index, self._names, self.position + 1, self._refuse_after_failure)
        try:
            request.value = request.step(change, *request.args)
            if change.begun:
                size_bytes = self._keep(change)
            else:
                self._early += change.topics
        except Exception as error:  # noqa: BLE001 - handed to whoever asked
            request.error = _named(error)
            if change.begun:
                self._drop()
        request.seen = self.firm_position
        return size_bytes

    def _keep(self, change: Change) -> int:
        packed = change.pack()
        self._index.keep_change()
        change.keep_names()
        self.position = self._highest = change.position
        if not change.lazy:
            self.firm_position = change.position
        self._applied.append(PendingChange(change.position, packed, change.lazy, change.patient, tuple(change.topics)))
        if change.lazy:
            self._early += change.topics
        return len(packed)

    def _drop(self) -> None:
        if self._index.in_transaction:
            self._index.drop_change()
        else:
            # SQLite closed the long transaction by itself: the index forgot changes that others have seen.
            self._lost = True

    def _refuse_after_failure(self) -> None:
        if self._committer.failure is not None:
            raise StorageError("nothing is taken in for now: flash failed, or is full")

    def _settle(self, batch: list[Request]) -> None:
        for change in self._applied:
            self._committer.add(change)
        self._applied.clear()
        self._wakeups.ring(self._early)
        self._early.clear()
        if self._lost and self._committer.failure is None:
            self._committer.fail(StorageError("the index failed"))
        for request in batch:
            request.done.set()


def _named(error: Exception) -> Exception:
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.IOError | apsw.FullError):
        named = DamagedError(f"the index cannot be read: {error}")
        named.__cause__ = error
        return named
    return error
