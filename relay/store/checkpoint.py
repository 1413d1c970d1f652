"""Checkpoints: the index catches up with the journal, by volume, never by the clock.

COMMIT runs with the gate closed: no step runs, the journal holds everything applied. Then the write-ahead log is copied
into the database beside running steps, and only when every frame is there are journal segments given back.
"""

import apsw
import trio

from relay.base.config import StoreConfig
from relay.base.errors import StorageError
from relay.base.limits import MIB
from relay.base.log import get_logger
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.segments import NoFreeSegmentError
from relay.store.workers import Workers

_MAX_LOG_BYTES = 32 * MIB

log = get_logger()


class Checkpointer:
    """Decides when the index is committed and copied back.

    Attributes:
        cache_bytes: memory that index pages took when last measured.
        done_count: completed checkpoints since the start.
        failed_count: copies that did not complete since the start.
    """

    def __init__(
        self, index: IndexFile, journal: Journal, workers: Workers, config: StoreConfig, nursery: trio.Nursery
    ) -> None:
        self._index = index
        self._journal = journal
        self._workers = workers
        self._nursery = nursery
        # Half of the journal: the other half takes what arrives while the copy runs.
        half_bytes = config.journal_segments * journal.segment_bytes // 2
        self._journal_limit_bytes = min(config.checkpoint_journal_mib * MIB, half_bytes)
        self._cache_limit_bytes = config.checkpoint_cache_mib * MIB
        self.cache_bytes = 0
        self._copied: trio.Event | None = None
        self.wanted = False
        self.done_count = 0
        self.failed_count = 0

    def measure(self) -> None:
        """Read how much memory the pages take; called where the index is owned."""
        self.cache_bytes = self._index.cache_bytes()

    @property
    def due(self) -> bool:
        """Return whether enough has piled up, or a failed sync asks for it."""
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
        return log_full or cache_full or self._journal.written_bytes >= self._journal_limit_bytes

    async def wait_copied(self) -> None:
        """Return when no copy runs."""
        if self._copied is not None:
            await self._copied.wait()

    async def commit_index(self, position: int) -> None:
        """Commit the index as it is at `position` and start the copy; the caller keeps the gate closed.

        Raises:
            apsw.Error: the index could not be committed.
        """
        await self.wait_copied()
        await self._workers.run(self._index.commit, position, self._journal.sequence)
        self._journal.mark()
        self.wanted = False
        self.cache_bytes = 0
        if self._index.vfs is None:
            self._copied = trio.Event()
            self._nursery.start_soon(self._copy)
        else:
            await self._copy()

    async def make_room(self) -> None:
        """Return when the journal has a free segment again.

        Raises:
            NoFreeSegmentError: copying did not help.
        """
        await self.wait_copied()
        if not self._journal.segments_free:
            await self._copy()
        if not self._journal.segments_free:
            raise NoFreeSegmentError("the journal is full and the index could not be copied")

    async def _copy(self) -> None:
        copied = self._copied = trio.Event() if self._copied is None else self._copied
        try:
            await self._workers.run(self._copy_and_release)
        finally:
            copied.set()
            self._copied = None

    def _copy_and_release(self) -> None:
        sequence = self._index.sequence
        try:
            complete = self._index.copy_back()
            if complete:
                self._journal.release(sequence)
        except (apsw.Error, OSError, StorageError) as error:
            complete = False
            log.warning("store.copy_failed", error=type(error).__name__)
        if complete:
            self.done_count += 1
        else:
            self.failed_count += 1
