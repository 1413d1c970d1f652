"""When the index is committed and copied, and what a start finds, over real files and threads."""

from pathlib import Path

import trio

from relay.base.config import StoreConfig
from relay.store.ledger import Change, Ledger, open_ledger
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import KEYRING, memory_ledger
from tests.unit.store.test_ledger import NOTES, PUT, put, texts

CONFIG = StoreConfig(journal_segments=16, checkpoint_journal_mib=1)
SEGMENT_BYTES = 256 * 1024


def put_many(change: Change, first: int, count: int) -> None:
    for number in range(first, first + count):
        change.write(PUT, number, "x" * 1_000)


async def fill(ledger: Ledger, rounds: int) -> None:
    async with trio.open_nursery() as nursery:
        for sender in range(4):
            nursery.start_soon(fill_alone, ledger, sender * 1_000_000, rounds)


async def fill_alone(ledger: Ledger, first: int, rounds: int) -> None:
    for number in range(rounds):
        await ledger.run(put_many, first + number * 50, 50)


async def test_checkpoints_follow_the_volume_beside_running_steps(tmp_path: Path) -> None:
    async with open_ledger(tmp_path, KEYRING, (NOTES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        await fill(ledger, 30)
        status = ledger.status()
        assert status.healthy
        assert status.checkpoints >= 4
        assert status.failed_checkpoints == 0
        assert status.segments_used < status.segments
    assert not any(path.stat().st_size for path in tmp_path.glob("index.db-wal"))
    async with open_ledger(tmp_path, KEYRING, (NOTES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        assert len(await ledger.read(texts)) == 6_000
        assert ledger.status().segments_used == 0


async def test_nothing_is_written_while_nothing_happens(tmp_path: Path) -> None:
    async with open_ledger(tmp_path, KEYRING, (NOTES,), CONFIG, segment_bytes=SEGMENT_BYTES) as ledger:
        await ledger.run(put, 1, "x")
        await ledger.checkpoint()
        status = ledger.status()
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
        for _ in range(20):
            assert await ledger.read(texts) == ["x"]
        await ledger.checkpoint()
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written
        assert ledger.status() == status


async def test_starts_that_ended_before_their_checkpoint_leave_room_for_the_next() -> None:
    files = MemoryFiles()
    for number in range(12):
        async with memory_ledger(NOTES, files=files) as ledger:
            await ledger.run(put, number, "x" * 100_000)
            await ledger.run(put, number + 100, "x" * 100_000)
            assert ledger.healthy
            cut = files.copy()
        files = cut
    async with memory_ledger(NOTES, files=files) as ledger:
        assert len(await ledger.read(texts)) == 24
