"""At each limit of the store: what is just within it passes, what is just beyond is refused or waits."""

import pytest
import trio
from trio.testing import MockClock

from relay.base.config import StoreConfig
from relay.base.errors import TooLargeError
from relay.base.limits import (
    LAZY_COMMIT_S,
    MAX_CHANGE_BYTES,
    MAX_CHANGE_FRAME_BYTES,
    MAX_CHANGE_OPERATIONS,
    MAX_COMMIT_BYTES,
    MAX_UNDURABLE_BYTES,
    MIB,
)
from relay.store import committer as committer_room
from relay.store import frame
from relay.store.ledger import Change, Ledger
from relay.store.tables import Operation, Tables
from tests.fakes.ledger import memory_ledger

PUT = Operation(900, "INSERT INTO notes(text) VALUES (?)")
LAZY = Operation(901, "INSERT INTO notes(text) VALUES (?)", lazy=True)
NOTES = Tables("notes", ("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text)",), (PUT, LAZY))
LARGE = StoreConfig(journal_segments=64, checkpoint_journal_mib=16)


def put(change: Change, size: int, operation: Operation = PUT) -> None:
    change.write(operation, bytes(size))


async def count(ledger: Ledger) -> int:
    return int(await ledger.read(lambda index: index.value("SELECT count(*) FROM notes")))


async def test_a_change_may_have_so_many_operations() -> None:
    def write(change: Change, operations: int) -> None:
        for _ in range(operations):
            put(change, 1)

    async with memory_ledger(NOTES) as ledger:
        await ledger.run(write, MAX_CHANGE_OPERATIONS)
        with pytest.raises(TooLargeError, match=str(MAX_CHANGE_OPERATIONS)):
            await ledger.run(write, MAX_CHANGE_OPERATIONS + 1)
        assert await count(ledger) == MAX_CHANGE_OPERATIONS


async def test_a_change_may_have_so_many_bytes() -> None:
    async with memory_ledger(NOTES, config=LARGE) as ledger:
        await ledger.run(put, MAX_CHANGE_BYTES - 4)
        with pytest.raises(TooLargeError, match=str(MAX_CHANGE_BYTES)):
            await ledger.run(put, MAX_CHANGE_BYTES - 3)
        assert await count(ledger) == 1


def test_a_frame_holds_so_many_bytes_and_one_more_makes_two() -> None:
    assert frame.frame_sizes(frame.MAX_PAYLOAD_BYTES) == [MAX_CHANGE_FRAME_BYTES]
    assert frame.frame_sizes(frame.MAX_PAYLOAD_BYTES + 1) == [MAX_CHANGE_FRAME_BYTES, frame.BLOCK_BYTES]
    whole = frame.seal(bytes(frame.MAX_PAYLOAD_BYTES), b"k" * 32, use=1, sequence=1, part=0, parts=1)
    assert len(whole) == MAX_CHANGE_FRAME_BYTES
    assert frame.read_header(whole) is not None
    beyond = frame.seal(bytes(frame.MAX_PAYLOAD_BYTES + 1), b"k" * 32, use=1, sequence=1, part=0, parts=1)
    assert frame.read_header(beyond) is None


async def test_changes_share_a_commit_up_to_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    take = committer_room.Committer._take_batch

    def note(self: committer_room.Committer) -> list[committer_room.PendingChange]:
        taken = take(self)
        batches.append(sum(len(change.packed) for change in taken))
        return taken

    monkeypatch.setattr(committer_room.Committer, "_take_batch", note)
    async with memory_ledger(NOTES, config=LARGE) as ledger, trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(ledger.run, put, MAX_COMMIT_BYTES // 4)
    assert max(batches) <= MAX_COMMIT_BYTES
    assert max(batches) > MAX_COMMIT_BYTES // 2


async def test_no_more_than_so_many_bytes_wait_for_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    add = committer_room.Committer.add

    def note(self: committer_room.Committer, change: committer_room.PendingChange) -> None:
        add(self, change)
        waiting.append(self._pending_bytes)

    monkeypatch.setattr(committer_room.Committer, "add", note)
    async with memory_ledger(NOTES, config=LARGE) as ledger, trio.open_nursery() as nursery:
        for _ in range(24):
            nursery.start_soon(ledger.run, put, MIB // 2)
    assert MAX_UNDURABLE_BYTES - MIB < max(waiting) <= 2 * MAX_UNDURABLE_BYTES + MIB
    assert len(waiting) == 24


async def test_a_lazy_change_is_forced_after_its_time(autojump_clock: MockClock) -> None:
    async with memory_ledger(NOTES) as ledger:
        await ledger.run(put, 1)
        before = ledger.durable_position
        await ledger.run(put, 1, LAZY)
        await trio.sleep(LAZY_COMMIT_S - 0.1)
        assert ledger.durable_position == before
        await trio.sleep(0.2)
        assert ledger.durable_position == ledger.position > before
