"""Replay: the journal's changes applied to the index again, exactly as they were."""

from typing import Any

import apsw

from relay.base.errors import DamagedError, NewerFormatError
from relay.base.log import get_logger
from relay.store.faults import IndexLostError, IndexMixedError, StaleIndexError, storage_error
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.packing import unpack_all
from relay.store.tables import Operation
from relay.store.upgrade import MARK, upgrade

# A start numbers its changes this far beyond the last start's, so that a number once shown never means another change:
# lazy changes may be shown and then lost.
_POSITION_GAP = 4096

log = get_logger()


def recover(journal: Journal, index: IndexFile) -> tuple[int, bool]:
    """Open both, bring the index up to the journal and begin a new start.

    Returns the number the changes of this start follow, and whether anything was replayed.

    Raises:
        WrongKeyError: the index was sealed with another key.
        NewerFormatError: journal, index or an operation is of a release newer than this one; nothing was changed.
        UpgradeError: tables of an older release could not be brought to this one's; nothing was changed.
        DamagedError: journal or index are not what was once durable; the message says where. Nothing was changed.
        StorageError: the file system refused.
    """
    try:
        open_both(journal, index)
        behind = min(index.format, journal.format) < index.newest_format
        if index.log_bytes and (behind or not index.copies_alone) and index.copy_back():
            # As the checkpointer does beside running steps: nothing is appended to a log that the database still needs.
            journal.release(index.sequence)
        committed = index.sequence
        position = replay(index, journal)
        if behind:
            upgrade(index, journal, position)
            committed = index.sequence
        index.files.remove(index.folder / MARK)
        # The names of index and log: a start before this one may have been refused just that.
        index.files.sync_folder(index.folder)
        position = journal.start(sequence=committed, position=position, gap=_POSITION_GAP)
    except (OSError, apsw.IOError, apsw.FullError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise storage_error(f"the state folder cannot be used: {error}", error) from error
    except apsw.Error as error:
        raise DamagedError(f"the index does not fit the journal: {error}") from error
    if journal.loose_end:
        log.warning("store.loose_end_found", where=journal.loose_end)
    return position, journal.sequence > committed


def open_both(journal: Journal, index: IndexFile) -> None:
    """Open journal and index, and see that they belong together.

    Raises:
        DamagedError: they do not; see `relay.store.faults`.
    """
    made = journal.open(may_make=not index.exists)
    if not index.exists and journal.released:
        raise IndexLostError(f"index.db is missing, and the journal begins after commit {journal.released}")
    index.open()
    if made:
        return
    copied, released = index.copied_sequence(), journal.released
    if copied is not None and copied < released:
        raise StaleIndexError(f"index.db holds commit {copied}, and the journal begins after commit {released}")
    if index.sequence < released == copied:
        # A cut while new frames were appended can garble the end of what the log held before, which is long copied.
        index.discard_log()
    elif copied is None or copied > released:
        _see_log(index, copied, released)


def _see_log(index: IndexFile, copied: int | None, released: int) -> None:
    """A copy into the database may have been under way: then its log must be there, and be whole up to there."""
    if index.sequence < max(copied or 0, released) or not index.log_frames():
        raise IndexMixedError(
            f"a commit after {released} was being copied into index.db, and the log index.db-wal is not whole"
        )


def replay(index: IndexFile, journal: Journal, *, up_to: int | None = None) -> int:
    """Apply the commits after the committed index, `up_to` included; return the position of the last change.

    Raises:
        DamagedError: the journal does not continue the index.
        NewerFormatError: it names an operation this release does not know.
    """
    position = index.position
    for sequence, payload in journal.replay(index.sequence, up_to):
        for change in unpack_all(payload):
            position = apply_change(index, change)
        journal.sequence = max(journal.sequence, sequence)
    return position


def replay_readable(index: IndexFile, journal: Journal) -> int:
    """Apply the commits after the committed index up to the first that cannot be; return the position of the last.

    The journal's `sequence` says how far that is.
    """
    position = index.position
    journal.sequence = index.sequence
    try:
        for sequence, payload in journal.replay(index.sequence):
            for change in unpack_all(payload):
                position = apply_change(index, change)
            journal.sequence = sequence
    except (DamagedError, OSError, apsw.Error) as error:
        log.warning("store.replay_ended", sequence=journal.sequence, error=type(error).__name__)
    return position


def apply_change(index: IndexFile, change: list[Any]) -> int:
    """Apply one change as the journal keeps it; return its position.

    Raises:
        NewerFormatError: this release does not know what it says.
        apsw.Error: the tables refuse it; nothing of it was applied.
    """
    operations = [_operation(index, number) for number, *_ in change[1:]]
    index.begin_change()
    try:
        for operation, (_, *params) in zip(operations, change[1:], strict=True):
            index.apply(operation, params)
    except apsw.Error:
        index.drop_change()
        raise
    index.keep_change()
    position: int = change[0]
    return position


def _operation(index: IndexFile, number: int) -> Operation:
    operation = index.operations.get(number)
    if operation is None:
        raise NewerFormatError.of("the journal", f"this release does not know operation {number}")
    return operation
