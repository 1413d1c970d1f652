"""From the format of an older release to this one's: once, at the first start, all or nothing.

The journal is replayed into the tables it was written for, a checkpoint empties it, and one transaction changes the
tables. Its commit is the moment of the upgrade: a power cut before it leaves the old format, which the next start
upgrades, a cut after it the new one. Just before the commit both root pages are raised, so that an older release
cannot take tables for its own that have changed under it.
"""

import contextlib
import time

import apsw

from relay.base.errors import DamagedError, Fault, RelayError, StorageError
from relay.base.log import get_logger
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.tables import steps_between

MARK = "upgrading"
"""While an upgrade runs the state folder holds this file for whoever waits: `STEP of STEPS`."""

_TELL_EVERY_S = 10.0
# About 100 ms of a small processor's work between two looks at the clock.
_LOOK_EVERY_INSTRUCTIONS = 1_000_000

log = get_logger()


class UpgradeError(RelayError):
    """A migration failed; the state folder is as the older release left it, and that release can open it."""

    code = "storage.upgrade_failed"
    fault = Fault.BOX


def upgrade(index: IndexFile, journal: Journal, position: int) -> None:
    """Bring a replayed index, up to `position`, and its journal to this release's format.

    Raises:
        StorageError: flash refused, or is full; the next start tries again.
        UpgradeError: the tables do not let themselves be changed.
    """
    old, new = index.format, index.newest_format
    sequence = max(index.sequence, journal.sequence)
    try:
        index.commit(position, sequence)
        if not index.copy_back():
            raise StorageError("the index cannot be copied back before the upgrade")
        journal.release(sequence)
        index.empty_log()
        if old == new:
            journal.set_format(new, sequence)
            return
    except (apsw.Error, OSError) as error:
        raise StorageError(f"the state folder cannot be prepared for its upgrade: {error}") from None
    log.warning("store.upgrade_begun", kind=f"{old} to {new}")
    begun = False

    def raise_roots() -> None:
        nonlocal begun
        begun = True
        journal.set_format(new, sequence)

    try:
        # It counts as a commit: a copy of the index from before it, here or elsewhere, is not continued by the journal.
        index.rewrite(_Steps(index, old).run, sequence=sequence + 1, last_words=raise_roots)
        if index.copy_back():
            journal.release(sequence + 1)
            index.empty_log()
    except Exception as error:
        with contextlib.suppress(OSError):
            index.files.remove(index.folder / MARK)
        raise _named(error, f"the upgrade from format {old} to {new}", begun=begun) from error
    log.warning("store.upgraded", kind=f"{old} to {new}")


def _named(error: Exception, what: str, *, begun: bool) -> Exception:
    if isinstance(error, RelayError):
        return error
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return DamagedError(f"{what} met an index that cannot be read: {error}")
    if begun:
        return StorageError(f"flash refused the end of {what}: start the box again ({error})")
    what += " failed; nothing was changed"
    if isinstance(error, apsw.FullError | apsw.IOError | OSError):
        return StorageError(f"{what}: make room in the state folder, then start the box again ({error})")
    return UpgradeError(f"{what}: go back to the older release and report this ({error})")


class _Steps:
    """The steps of one upgrade; says how far it is, at most every ten seconds."""

    def __init__(self, index: IndexFile, old: int) -> None:
        self._steps = steps_between(index.tables, old, index.newest_format)
        self._index = index
        self._done = 0
        self._told_s = time.monotonic()

    def run(self, connection: apsw.Connection) -> None:
        """Run them all on `connection`, inside its open transaction."""
        connection.set_progress_handler(self._look, _LOOK_EVERY_INSTRUCTIONS)
        try:
            for _format, step in self._steps:
                self._mark(f"{self._done + 1} of {len(self._steps)}")
                if isinstance(step, str):
                    connection.execute(step)
                else:
                    step(connection)
                self._done += 1
        finally:
            connection.set_progress_handler(None)

    def _mark(self, text: str) -> None:
        file = self._index.files.open(self._index.folder / MARK, create=True)
        file.write(text.encode(), 0)
        file.close()

    def _look(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            log.warning("store.upgrade_continued", count=self._done, limit=len(self._steps))
        return False
