"""The ledger: journal first, index later. The two calls everything else is built on are `run` and `read`.

A step is a plain synchronous function; it runs alone, on a worker thread, against the index. What it returned is handed
over only when the journal holds on flash everything the step saw or wrote, so nobody holds an answer that a power cut
can undo.
"""

import contextlib
import dataclasses
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import trio

from relay.base.config import StoreConfig
from relay.base.errors import DamagedError, RelayError, StorageError
from relay.base.limits import MIB
from relay.base.log import get_logger
from relay.base.lone_errors import unwrapped
from relay.store.checkpoint import Checkpointer
from relay.store.committer import Committer
from relay.store.files import OS_FILES, FileLayer
from relay.store.index import Change, Index
from relay.store.keyring import Keyring
from relay.store.opening import OpenState, StateFolder, open_state
from relay.store.segments import SEGMENT_BYTES
from relay.store.step_queue import Request, StepQueue
from relay.store.tables import Tables
from relay.store.tail import Tail
from relay.store.wakeups import Wakeups, Watch
from relay.store.workers import ThreadWorkers, Workers

if TYPE_CHECKING:
    from relay.store.chunks import Chunk, Picture, Reached, Schema

__all__ = ["Change", "Index", "Ledger", "LedgerStatus", "LedgerTail", "Watch", "open_ledger"]

_STOP_DEADLINE_S = 8.0
_RELIEF_BYTES = 2 * MIB

P = ParamSpec("P")
T = TypeVar("T")

log = get_logger()


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerStatus:
    """How the ledger is, for `relay status`.

    Attributes:
        healthy: whether changes are taken in; reads go on either way.
        segments_used: journal segments that hold changes the index does not hold durably.
        commits: how many the journal has ever taken.
        journal_bytes: sealed bytes since the last checkpoint.
        cache_bytes: memory that index pages take.
        index_bytes: what the index takes on flash; room that deletions left in its file is not counted.
        fault: why no changes are taken in, empty while they are.
        fault_code: the code of that error.
        loose_end: where the last start found one more commit that does not open, empty where it found none: cut off
            while it was written, or damaged.
        lost_page: the name of a root page that could not be written, empty while both can.
    """

    healthy: bool
    position: int
    durable_position: int
    boot: int
    segments_used: int
    segments: int
    commits: int
    journal_bytes: int
    cache_bytes: int
    index_bytes: int
    checkpoints: int
    failed_checkpoints: int
    fault: str
    fault_code: str = ""
    loose_end: str = ""
    lost_page: str = ""


class Ledger:
    """The open ledger of one state folder."""

    def __init__(self, opened: OpenState, workers: Workers, config: StoreConfig, *, nursery: trio.Nursery) -> None:
        journal, index, position = opened.journal, opened.index, opened.position
        self._journal = journal
        self._index = index
        self._workers = workers
        self._nursery = nursery
        self._wakeups = Wakeups()
        self._tasks = trio.CancelScope(shield=True)
        self._checkpointer = Checkpointer(index, journal, workers, config, nursery=nursery, on_copied=self._wake_queue)
        self._committer = Committer(
            journal,
            workers,
            self._wakeups,
            position,
            make_room=self._checkpointer.make_room,
            on_failure=self._wake_queue,
        )
        self._queue = StepQueue(
            index,
            opened.names,
            journal,
            workers=workers,
            wakeups=self._wakeups,
            committer=self._committer,
            checkpointer=self._checkpointer,
            position=position,
        )

        self._fault = opened.fault

    def start(self, *, replayed: bool) -> None:
        """Begin to run steps; after a replay the index is made durable first."""
        if self._fault is None:
            self._checkpointer.start(replayed=replayed)
        else:
            self._queue.only_read(self._fault)
        self._nursery.start_soon(self._run_tasks)
        self._queue.wake()

    async def stop(self) -> None:
        """Finish what waits and leave an index that needs no replay."""
        try:
            await self._queue.stop()
            await self._committer.drain()
            if self.healthy and self._journal.written_bytes:
                await self._queue.checkpoint()
            await self._checkpointer.finish(healthy=self.healthy)
        finally:
            self._tasks.cancel()

    async def run(self, step: Callable[Concatenate[Change, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `step(change, *args)`, all or nothing; return its result once flash holds all it saw and wrote.

        Raises:
            StorageError: flash failed; the change was not acknowledged, though it may reappear after a restart.
            Exception: whatever the step raises; nothing of it was kept.
        """
        result, position = await self.run_early(step, *args, **kwargs)
        await self._committer.wait_durable(position)
        return result

    async def run_early(
        self, step: Callable[Concatenate[Change, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[T, int]:
        """Run as `run`, but return at once, with the position to give to `durable` before anybody else hears of it."""
        return await self._settle(
            await self._queue.submit(functools.partial(step, **kwargs) if kwargs else step, args, writes=True)
        )

    async def read(self, step: Callable[Concatenate[Index, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `step(index, *args)`; return its result once flash holds all it saw."""
        result: T
        result, position = await self._settle(
            await self._queue.submit(functools.partial(step, **kwargs) if kwargs else step, args, writes=False)
        )
        await self._committer.wait_durable(position)
        return result

    async def durable(self, position: int) -> None:
        """Return when flash holds every change up to `position`, lazy ones excepted.

        Raises:
            StorageError: flash failed before that.
        """
        await self._committer.wait_durable(min(position, self._queue.firm_position))

    async def checkpoint(self) -> None:
        """Let the index catch up with the journal now, and return when it has."""
        self._checkpointer.wanted = True
        while self._checkpointer.wanted and self.healthy:
            await self._checkpointer.wait_copied()
            # The queue looks after the index before it runs a step.
            await self.read(lambda _index: None)
        await self._checkpointer.wait_copied()

    async def relieve(self) -> None:
        """Give memory back before something else needs much of it for a moment, such as the check of a password."""
        if self.healthy and self._checkpointer.cache_bytes > _RELIEF_BYTES:
            await self.checkpoint()
            await self.read(lambda _index: self._index.shrink())

    @property
    def sequence(self) -> int:
        """Return the number of the last commit on flash."""
        return self._journal.sequence

    async def drain(self) -> None:
        """Return when flash holds every change applied so far, lazy ones included."""
        await self._committer.drain()

    def tail(self, after: int) -> "LedgerTail":
        """Return a reader of the commits after commit `after`, which may be gone by the time it reads."""
        return LedgerTail(Tail(self._journal, after), self._committer, self._workers)

    async def snapshot(self, known: "Picture") -> "AsyncGenerator[Schema | Chunk | Reached, None]":
        """Yield a consistent copy of the index while steps go on; see `take_snapshot`. Close it: `aclosing`."""
        # Only backups and standbys need it.
        from relay.store.snapshot import CommittedIndex, OpenIndex, take_snapshot

        source = (
            CommittedIndex(self._index, self._checkpointer, self._workers, self.checkpoint)
            if self.healthy and self._index.copies_alone
            else OpenIndex(self._index, self.read, self.checkpoint, lambda: (self.position, self._journal.sequence))
        )
        try:
            async with contextlib.aclosing(take_snapshot(source, known, self._journal.written_boot)) as items:
                async for item in items:
                    yield item
        finally:
            await source.close()

    def watch(self, *topics: Hashable) -> Watch:
        """Return a watch on `topics`: open it with `with`, read, then wait."""
        return self._wakeups.watch(topics)

    def ring(self, *topics: Hashable) -> None:
        """Wake the watchers of `topics` for news that is not stored, such as who is typing."""
        self._wakeups.ring(topics)

    @property
    def position(self) -> int:
        """Return the number of the last change applied."""
        return self._queue.position

    @property
    def durable_position(self) -> int:
        """Return the number of the last change on flash."""
        return self._committer.durable_position

    @property
    def boot(self) -> int:
        """Return the number of this start: one more each time."""
        return self._journal.boot

    @property
    def index_bytes(self) -> int:
        """Return what the index takes on flash, or will once it is committed."""
        return self._checkpointer.index_bytes

    @property
    def commit_lasts_s(self) -> float:
        """Return for how long flash has not finished the commit under way, 0 where none is."""
        return self._committer.lasts_s

    @property
    def healthy(self) -> bool:
        """Return whether changes are taken in."""
        return self._committer.failure is None

    @property
    def incomplete(self) -> bool:
        """Return whether what is read may lack acknowledged changes: damage was found at the start."""
        return isinstance(self._fault, DamagedError)

    def status(self) -> LedgerStatus:
        """Return how the ledger is."""
        used, segments = self._journal.segments
        failure = self._committer.failure
        return LedgerStatus(
            healthy=self.healthy,
            position=self.position,
            durable_position=self.durable_position,
            boot=self.boot,
            segments_used=used,
            segments=segments,
            commits=self._journal.sequence,
            journal_bytes=self._journal.written_bytes,
            cache_bytes=self._checkpointer.cache_bytes,
            index_bytes=self.index_bytes,
            checkpoints=self._checkpointer.done_count,
            failed_checkpoints=self._checkpointer.failed_count,
            fault="" if failure is None else str(failure) or type(failure).__name__,
            fault_code="" if failure is None else getattr(failure, "code", StorageError.code),
            loose_end=self._journal.loose_end,
            lost_page=self._journal.lost_page,
        )

    def _wake_queue(self) -> None:
        self._queue.wake()

    async def _run_tasks(self) -> None:
        # Shielded: whoever is cancelled with us still gets an answer; `stop` ends the tasks when the work is done.
        with self._tasks:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._queue.run_forever)
                nursery.start_soon(self._committer.commit_forever)

    async def _settle(self, request: Request) -> tuple[Any, int]:
        if request.error is not None:
            if isinstance(request.error, RelayError):
                # A refusal is an answer too: what it was based on must be on flash.
                await self._committer.wait_durable(request.seen)
            raise request.error
        return request.value, request.seen


class LedgerTail:
    """Reads commits once they are durable, from the journal's files."""

    def __init__(self, tail: Tail, committer: Committer, workers: Workers) -> None:
        self._tail = tail
        self._committer = committer
        self._workers = workers

    @property
    def sequence(self) -> int:
        """Return the number of the last commit read, or of the one to begin after."""
        return self._tail.sequence

    async def read(self, limit_bytes: int) -> list[tuple[int, bytes]]:
        """Wait for a commit; return (sequence, payload) of it and of those after it, up to about `limit_bytes`.

        Raises:
            RecycledError: the journal does not keep the next commit any more.
            StorageError: flash failed, everything durable has been read.
        """
        await self._committer.wait_committed(self._tail.sequence)
        try:
            return await self._workers.run(self._tail.read, limit_bytes)
        except OSError as error:
            raise StorageError(f"the journal cannot be read: {error.strerror}") from error


@contextlib.asynccontextmanager
async def open_ledger(
    folder: Path,
    keys: Keyring,
    tables: Sequence[Tables],
    config: StoreConfig,
    *,
    files: FileLayer = OS_FILES,
    workers: Workers | None = None,
    segment_bytes: int = SEGMENT_BYTES,
) -> AsyncIterator[Ledger]:
    """Hold the state folder, bring the index up to the journal, and keep both while the block runs.

    A clean end leaves an index that needs no replay.

    Raises:
        StateLockedError: another process holds the folder.
        WrongKeyError: the folder was sealed with other keys.
        NewerFormatError: a newer release made it; nothing was changed.
        UpgradeError: what an older release made could not be brought to this one's form; nothing was changed.
        DamagedError: journal or index are not what was once durable, and nothing of them can be read. Where something
            can be, the ledger opens, `healthy` is false and its status says what is wrong.
        StorageError: flash refused what a start writes, and reads too.
    """
    workers = workers or ThreadWorkers()
    files.make_folder(folder)
    with files.lock(folder):
        state = StateFolder(
            folder=folder, keys=keys, tables=tables, config=config, files=files, segment_bytes=segment_bytes
        )
        opened = await workers.run(open_state, state)
        try:
            async with unwrapped(), trio.open_nursery() as nursery:
                ledger = Ledger(opened, workers, config, nursery=nursery)
                ledger.start(replayed=opened.replayed)
                try:
                    yield ledger
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + _STOP_DEADLINE_S):
                        await ledger.stop()
                    nursery.cancel_scope.cancel()
        finally:
            opened.close()
