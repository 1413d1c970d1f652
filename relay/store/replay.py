"""Replay: the journal's changes applied to the index again, exactly as they were."""

from typing import Any

from relay.base.errors import DamagedError
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.packing import unpack_all


def replay(index: IndexFile, journal: Journal, *, up_to: int | None = None) -> int:
    """Apply the commits after the committed index, `up_to` included; return the position of the last change.

    Raises:
        DamagedError: the journal does not continue the index, or names an operation this release does not know.
    """
    position = index.position
    for sequence, payload in journal.replay(index.sequence, up_to):
        for change in unpack_all(payload):
            position = _apply(index, change)
        journal.sequence = max(journal.sequence, sequence)
    return position


def _apply(index: IndexFile, change: list[Any]) -> int:
    position: int = change[0]
    index.begin_change()
    for number, *params in change[1:]:
        operation = index.operations.get(number)
        if operation is None:
            raise DamagedError(f"the journal holds operation {number}, which this release does not know")
        index.apply(operation, params)
    index.keep_change()
    return position
