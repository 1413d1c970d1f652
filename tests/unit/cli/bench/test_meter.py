from pathlib import Path

import pytest

from relay.app.house import TABLES
from relay.base.config import StoreConfig
from relay.cli.bench.meter import FROM_ELSEWHERE, KINDS, OTHER, Meter, MeteredFiles, MeteredWorkers, kind_of
from relay.store.frame import BLOCK_BYTES
from relay.store.ledger import open_ledger
from tests.fakes.ledger import KEYRING
from tests.unit.store.test_ledger import NOTES, put


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ((104, 101, 600), "messages"),
        ((104, 530), FROM_ELSEWHERE),
        ((375, 503, 600), "keys"),
        ((124, 125, 387), "receipts"),
        ((124, 125, 500), "receipts"),
        ((376, 509), "delivery notes"),
        ((385,), "settings"),
        ((530,), "transactions of peers"),
        ((621,), "media"),
        ((322,), "last seen"),
        ((1,), OTHER),
        ((), OTHER),
    ],
)
def test_a_commit_is_called_by_the_weightiest_thing_in_it(numbers: tuple[int, ...], kind: str) -> None:
    assert kind_of(numbers) == kind
    assert kind in KINDS


def test_most_operations_have_a_kind() -> None:
    numbers = {operation.number for tables in TABLES for operation in tables.operations}
    assert sum(kind_of([number]) == OTHER for number in numbers) < len(numbers) / 4


async def test_a_ledger_on_metered_files_is_counted(tmp_path: Path) -> None:
    meter = Meter()
    config = StoreConfig(journal_segments=4)
    files, workers = MeteredFiles(meter), MeteredWorkers(meter)
    async with open_ledger(tmp_path, KEYRING, (NOTES,), config, files=files, workers=workers) as ledger:
        await ledger.run(put, 1, "a")
        meter.reset()
        await ledger.run(put, 2, "b")
        assert meter.commits == {OTHER: 1}
        assert meter.commit_bytes == {OTHER: BLOCK_BYTES}
        assert meter.file_bytes == {"journal": BLOCK_BYTES}
        assert meter.syncs == 1
        assert meter.written.is_set()
        assert meter.last_written is not None
        assert meter.last_written.parent == tmp_path / "journal"


def test_files_are_counted_by_what_they_are_for(tmp_path: Path) -> None:
    meter = Meter()
    files = MeteredFiles(meter, lazy=True)
    for name in ("media/ab/cd", "journal/root.a", "journal/segment-01", "keyring"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        file = files.open(tmp_path / name, create=True)
        file.write(b"12345", 0)
        file.sync()
        assert file.read(9, 0) == b"12345"
        assert file.size_bytes() == 5
        file.close()
    files.sync_folder(tmp_path)
    assert meter.file_bytes == {"media": 5, "roots": 5, "journal": 5, "other": 5}
    assert meter.syncs == 5
