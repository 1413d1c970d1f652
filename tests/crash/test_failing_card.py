"""A card that refuses syncs under a running box: real files, threads and two connections to the index."""

import fnmatch
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from relay.base.errors import RelayError
from relay.store.files import OsFile, OsFiles
from relay.store.ledger import Index, open_ledger
from tests.crash.killed_box import CONFIG, SEGMENT_BYTES
from tests.crash.workload import TABLES, put
from tests.fakes.ledger import KEYRING

pytestmark = pytest.mark.slow
NOTES = 600


class FailingCard(OsFiles):
    """Refuses the syncs of files that fit `pattern` whose number, from 0, is in `refused`."""

    def __init__(self, pattern: str, refused: Sequence[int]) -> None:
        self._pattern = pattern
        self._refused = refused
        self._syncs = -1

    def open(self, path: Path, *, create: bool = False) -> OsFile:
        file = super().open(path, create=create)
        return _CountedFile(file, self) if fnmatch.fnmatch(str(path), self._pattern) else file

    def refuses_next(self) -> bool:
        self._syncs += 1
        return self._syncs in self._refused


class _CountedFile(OsFile):
    def __init__(self, file: OsFile, card: FailingCard) -> None:
        super().__init__(file._descriptor)
        self._card = card

    def sync(self) -> None:
        if self._card.refuses_next():
            raise OSError(5, "Input/output error")
        super().sync()


def ids(index: Index) -> set[int]:
    return {number for (number,) in index.rows("SELECT id FROM notes")}


@pytest.mark.parametrize(
    ("pattern", "refused", "healthy"),
    [
        ("*/segment-*", [100], True),
        ("*/segment-*", [100, 101], False),
        ("*/segment-*", [60, 150, 200], True),
        ("*/index.db-wal", [2], True),
        ("*/index.db-wal", [2, 3], False),
        ("*/root.?", [5], True),
        # Two in a row may hit the taking of a segment, which stops intake, or the giving back, which does not.
        ("*/root.?", [9, 10], None),
    ],
)
async def test_nothing_refused_is_seen_and_nothing_acknowledged_is_lost(
    tmp_path: Path, pattern: str, refused: list[int], *, healthy: bool | None
) -> None:
    told: set[int] = set()

    async def send(first: int) -> None:
        for number in range(first, NOTES, 4):
            try:
                await ledger.run(put, number, bytes([number % 251]) * (20_000 if number % 5 == 0 else 300))
            except RelayError:
                continue
            told.add(number)

    card = FailingCard(pattern, refused)
    async with open_ledger(tmp_path, KEYRING, (TABLES,), CONFIG, files=card, segment_bytes=SEGMENT_BYTES) as ledger:
        async with trio.open_nursery() as nursery:
            for first in range(4):
                nursery.start_soon(send, first)
        assert await ledger.read(ids) == told
        assert healthy is None or ledger.healthy == healthy
        assert bool(ledger.status().fault) != ledger.healthy
    async with open_ledger(tmp_path, KEYRING, (TABLES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        assert told - await ledger.read(ids) == set()
        assert await ledger.read(lambda index: index.rows("PRAGMA integrity_check")) == [("ok",)]
