"""Replay: the journal's changes applied to the index again, exactly as they were."""

from typing import Any

from relay.base.errors import DamagedError, NewerFormatError
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.packing import unpack_all
from relay.store.upgrade import MARK, upgrade

# A start numbers its changes this far beyond the last start's, so that a number once shown never means another change:
# lazy changes may be shown and then lost.
_POSITION_GAP = 4096


def recover(journal: Journal, index: IndexFile) -> tuple[int, bool]:
    """Open both, bring the index up to the journal and begin a new start.

    Returns the number the changes of this start follow, and whether anything was replayed.

    Raises:
        WrongKeyError: the index was sealed with another key.
        NewerFormatError: journal, index or an operation is of a release newer than this one; nothing was changed.
        UpgradeError: tables of an older release could not be brought to this one's; nothing was changed.
        DamagedError: journal or index are not what was once durable; the message says where.
    """
    made = journal.open()
    index.open()
    if made and index.position:
        raise DamagedError("there is an index and no journal")
    if index.sequence < journal.released:
        # A cut while new frames were appended can garble the end of what the log held before, which is long copied.
        index.discard_log()
    behind = min(index.format, journal.format) < index.newest_format
    if index.log_bytes and (behind or not index.copies_alone):
        # As the checkpointer does beside running steps: nothing is appended to a log that the database still needs.
        index.copy_back()
    committed = index.sequence
    position = replay(index, journal)
    if behind:
        upgrade(index, journal, position)
    index.files.remove(index.folder / MARK)
    position = journal.start(sequence=committed, position=position, gap=_POSITION_GAP)
    return position, journal.sequence > committed


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


def apply_change(index: IndexFile, change: list[Any]) -> int:
    """Apply one change of a commit again; return its position.

    Raises:
        NewerFormatError: it names an operation this release does not know.
    """
    position: int = change[0]
    index.begin_change()
    for number, *params in change[1:]:
        operation = index.operations.get(number)
        if operation is None:
            raise NewerFormatError.of("the journal", f"this release does not know operation {number}")
        index.apply(operation, params)
    index.keep_change()
    return position
