"""Checkpoints: the index catches up with the journal, by volume, never by the clock.

COMMIT runs with the gate closed: no step runs, the journal holds everything applied. Then the write-ahead log is copied
into the database beside running steps, and only when every frame is there are journal segments given back.
"""

from collections.abc import Callable

import apsw
import trio

from relay.base.config import StoreConfig
from relay.base.errors import StorageError
from relay.base.limits import MAX_CHANGE_BYTES, MAX_CHANGE_FRAME_BYTES, MAX_UNDURABLE_BYTES, MIB
from relay.base.log import get_logger
from relay.store.faults import is_no_room, storage_error
from relay.store.index_file import IndexFile, LogNotSyncedError
from relay.store.journal import Journal
from relay.store.segments import NoFreeSegmentError
from relay.store.workers import Workers

_MAX_LOG_BYTES = 32 * MIB
_FEW_SEGMENTS = 3

log = get_logger()


class Checkpointer:
    """Decides when the index is committed and copied back.

    Attributes:
        wanted: whether a checkpoint is asked for whatever the volume.
        still: who holds it keeps COMMIT and copy from running, so that others may read what was last committed.
        undone: whether a COMMIT failed: the index is to be taken back, and the journal replayed.
        log_suspect: whether the index's log may not be on flash: it is to be discarded then.
        distrusted_count: how often that happened since a copy succeeded.
        cache_bytes: memory that index pages took when last measured.
        index_bytes: what the index takes on flash, or will once it is committed, when last measured.
        done_count: completed checkpoints since the start.
        failed_count: copies that did not complete since the start.
        error: what the last failed COMMIT or copy ran into, None since one succeeded.
    """

    def __init__(
        self,
        index: IndexFile,
        journal: Journal,
        workers: Workers,
        config: StoreConfig,
        *,
        nursery: trio.Nursery,
        on_copied: Callable[[], None],
    ) -> None:
        self._index = index
        self._journal = journal
        self._workers = workers
        self._nursery = nursery
        self._on_copied = on_copied
        # What may still come before the gate closes must find room: else the copy could not make any.
        all_bytes = config.journal_segments * journal.segment_bytes
        coming_bytes = MAX_UNDURABLE_BYTES + MAX_CHANGE_BYTES + config.journal_segments * MAX_CHANGE_FRAME_BYTES
        room_bytes = max(all_bytes - coming_bytes, all_bytes // 4)
        self._journal_limit_bytes = min(config.checkpoint_journal_mib * MIB, room_bytes)
        self._cache_limit_bytes = config.checkpoint_cache_mib * MIB
        self.cache_bytes = 0
        self.index_bytes = index.used_bytes()
        self._copied: trio.Event | None = None
        self._half_copied = False
        self.wanted = False
        self.still = trio.Lock()
        self.undone = False
        self.log_suspect = False
        self.distrusted_count = 0
        self.done_count = 0
        self.failed_count = 0
        self.error: Exception | None = None

    def start(self, *, replayed: bool) -> None:
        """Begin to copy the log a start found: until that is done nothing may be appended to it.

        A torn write beside its last frame could garble that one too, and a copy that a cut stopped needs them all.
        """
        self.wanted = replayed
        if self._index.log_bytes and self._index.copies_alone:
            self._half_copied = True
            self._begin_copy()

    def measure(self) -> None:
        """Read how much memory and how much flash the pages take; called where the index is owned."""
        self.cache_bytes = self._index.cache_bytes()
        self.index_bytes = self._index.used_bytes()

    @property
    def due(self) -> bool:
        """Return whether enough has piled up, or a failed sync asks for it, and no copy is in the way."""
        if self._copied is not None:
            return False
        written = self._journal.written_bytes
        full = written >= self._journal_limit_bytes or self.cache_bytes >= self._cache_limit_bytes
        return self.wanted or (full and written > 0) or self._journal.troubled

    @property
    def must_wait(self) -> bool:
        """Return whether steps wait for the running copy: the log, the journal or memory would grow too far."""
        if self._copied is None:
            return False
        log_full = self._index.log_bytes >= _MAX_LOG_BYTES and not self._index.in_transaction
        cache_full = self.cache_bytes >= 2 * self._cache_limit_bytes
        # After starts that ended before their checkpoint few segments are left: the one that is wanted comes first.
        few_segments = self._journal.segments_free <= (_FEW_SEGMENTS if self.wanted else 0)
        journal_full = self._journal.written_bytes >= self._journal_limit_bytes or few_segments
        return log_full or cache_full or journal_full

    async def wait_copied(self) -> None:
        """Return when no copy runs."""
        if self._copied is not None:
            await self._copied.wait()

    async def commit_index(self, position: int) -> None:
        """Commit the index as it is at `position` and start the copy; the caller keeps the gate closed.

        Raises:
            StorageError: the last copy stopped half-way, and so did another attempt: its log must stay as it is.
        """
        await self.wait_copied()
        self.wanted = False
        if self._index.sequence == self._journal.sequence:
            return
        if self._half_copied:
            await self._copy()
            if self._half_copied:
                raise storage_error("the index cannot be copied back", self.error)
        if not await self._commit(position):
            return
        if self._index.copies_alone:
            self._begin_copy()
        else:
            await self._copy()

    async def complete_copy(self) -> None:
        """Copy again what a copy left half-way; no transaction is open."""
        await self.wait_copied()
        if self._half_copied:
            await self._copy()

    async def settle(self, position: int) -> bool:
        """Commit the index at `position` and copy all of it; return whether no segment of the journal is needed then.

        After a failure, to begin anew; the caller keeps the gate closed.
        """
        behind = self._index.sequence != self._journal.sequence
        if not self._copies_whole or (behind and not await self._commit(position)):
            return False
        await self._copy()
        return self._copies_whole

    @property
    def _copies_whole(self) -> bool:
        return not self._half_copied and not self.undone

    async def _commit(self, position: int) -> bool:
        try:
            async with self.still:
                await self._workers.run(self._index.commit, position, self._journal.sequence)
        except apsw.FullError as error:
            # What was appended so far does not count, and what the log held before is as good as it was.
            self._fail_commit(error)
            return False
        except (apsw.Error, OSError) as error:
            self._distrust_log(error)
            return False
        self._journal.mark()
        self.cache_bytes = 0
        return True

    async def make_room(self) -> None:
        """Return when the journal has a free segment again.

        Raises:
            NoFreeSegmentError: copying did not help.
        """
        await self.wait_copied()
        if not self._journal.segments_free and not self.log_suspect:
            await self._copy()
        if not self._journal.segments_free:
            if is_no_room(self.error):
                raise storage_error("the journal is full", self.error)
            raise NoFreeSegmentError("the journal is full and the index could not be copied")

    async def finish(self, *, healthy: bool) -> None:
        """After the last checkpoint: wait for the copy and leave no log behind."""
        await self.wait_copied()
        async with self.still:
            try:
                await self._workers.run(self._index.roll_back)
                if healthy and self._copies_whole:
                    await self._workers.run(self._index.empty_log)
            except (apsw.Error, OSError) as error:
                # It spares the next start a look at the log, no more.
                self._note(error)

    def _begin_copy(self) -> None:
        self._copied = trio.Event()
        self._nursery.start_soon(self._copy)

    async def _copy(self) -> None:
        copied = self._copied = trio.Event() if self._copied is None else self._copied
        try:
            async with self.still:
                await self._workers.run(self._copy_and_release)
        finally:
            copied.set()
            self._copied = None
            self._on_copied()

    def _copy_and_release(self) -> None:
        sequence = self._index.sequence
        # A second attempt writes every page again: what the first one's failed sync lost is not taken for written.
        for _attempt in range(2):
            try:
                self._half_copied = not self._index.copy_back()
                if not self._half_copied:
                    self._journal.release(sequence)
                    self.done_count += 1
                    self.distrusted_count = 0
                    self.error = None
                    return
            except (apsw.Error, OSError, StorageError) as error:
                if isinstance(error, LogNotSyncedError) and not self._half_copied:
                    self._distrust_log(error)
                    return
                # A copy that stopped half-way needs its log, which was on flash before it began.
                self._half_copied = True
                self._note(error)
        self.failed_count += 1

    def _distrust_log(self, error: Exception) -> None:
        self.log_suspect = True
        self._fail_commit(error)

    def _fail_commit(self, error: Exception) -> None:
        self.undone = True
        self.distrusted_count += 1
        self.failed_count += 1
        self._note(error)

    def _note(self, error: Exception) -> None:
        # Once for each kind of trouble, not at each attempt. That a change is open beside is no trouble of the card's.
        if isinstance(error, apsw.LockedError | apsw.BusyError) and self.error is not None:
            return
        if type(self.error) is not type(error):
            log.warning("store.index_not_written", error=type(error).__name__)
        self.error = error
