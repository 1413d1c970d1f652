import pytest

from relay.store.frame import BLOCK_BYTES
from relay.store.ledger import Change
from relay.store.tables import Operation, Tables
from relay.store.tail import RecycledError, Tail
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import memory_ledger
from tests.unit.store.test_journal import SEGMENT, begin

ALL = 1 << 30


def test_commits_are_read_in_order_as_they_come() -> None:
    journal, _ = begin(MemoryFiles())
    tail = Tail(journal, 0)
    assert tail.read(ALL) == []
    journal.commit(b"one")
    assert tail.read(ALL) == [(1, b"one")]
    journal.commit(b"two")
    journal.commit(b"three")
    assert tail.read(ALL) == [(2, b"two"), (3, b"three")]
    assert tail.sequence == 3


def test_the_limit_ends_a_read_after_the_commit_that_reaches_it() -> None:
    journal, _ = begin(MemoryFiles())
    for number in range(4):
        journal.commit(b"%d" % number * 100)
    tail = Tail(journal, 0)
    assert [len(tail.read(150)) for _ in range(3)] == [2, 2, 0]
    assert len(Tail(journal, 0).read(1)) == 1


def test_a_large_commit_over_several_segments_is_read_whole() -> None:
    journal, _ = begin(MemoryFiles())
    journal.commit(b"small")
    journal.commit(b"x" * 600_000)
    journal.commit(b"after")
    assert Tail(journal, 1).read(ALL) == [(2, b"x" * 600_000), (3, b"after")]


def test_reading_begins_anywhere_also_after_a_restart() -> None:
    files = MemoryFiles()
    for start in range(2):
        earlier, _ = begin(files)
        for number in range(3):
            earlier.commit(b"%d-%d" % (start, number))
    journal, _ = begin(files)
    for number in range(3):
        journal.commit(b"2-%d" % number)
    for after in range(9):
        read = Tail(journal, after).read(ALL)
        assert [sequence for sequence, _ in read] == list(range(after + 1, 10))
    assert Tail(journal, 4).read(1) == [(5, b"1-1")]


def test_a_segment_given_back_is_still_read_until_it_is_written_again() -> None:
    journal, _ = begin(MemoryFiles())
    journal.commit(b"x" * 200_000)
    slow, slower = Tail(journal, 0), Tail(journal, 1)
    journal.commit(b"y" * 200_000)
    assert slow.read(1) == [(1, b"x" * 200_000)]
    assert slower.read(1) == [(2, b"y" * 200_000)]
    journal.commit(b"z" * 200_000)
    journal.release(2)
    assert slow.read(ALL) == [(2, b"y" * 200_000), (3, b"z" * 200_000)]
    late = Tail(journal, 2)
    assert late.read(ALL) == [(3, b"z" * 200_000)]
    for _ in range(8):
        journal.commit(b"more" * 50_000)
        journal.release(journal.sequence)
    for behind in (slow, Tail(journal, 3)):
        with pytest.raises(RecycledError):
            behind.read(ALL)


def test_what_is_not_durable_is_not_read() -> None:
    class Failing(MemoryFiles):
        failing = False

        def before(self, kind: str, path: str) -> None:
            if self.failing and kind == "sync" and "segment" in path:
                raise OSError(5, "the card is broken")

    files = Failing()
    journal, _ = begin(files)
    journal.commit(b"kept")
    tail = Tail(journal, 0)
    files.failing = True
    with pytest.raises(OSError, match="broken"):
        journal.commit(b"lost")
    assert tail.read(ALL) == [(1, b"kept")]
    assert tail.read(ALL) == []


def test_a_commit_written_again_elsewhere_after_a_failed_sync_is_read_once() -> None:
    class FailingOnce(MemoryFiles):
        fail = 0

        def before(self, kind: str, path: str) -> None:
            if kind == "sync" and "segment" in path and self.fail:
                self.fail -= 1
                raise OSError(5, "the card is broken")

    files = FailingOnce()
    journal, _ = begin(files)
    journal.commit(b"one")
    tail = Tail(journal, 0)
    tail.read(ALL)
    files.fail = 1
    journal.commit(b"two")
    journal.commit(b"three")
    assert tail.read(ALL) == [(2, b"two"), (3, b"three")]
    assert Tail(journal, 1).read(ALL) == [(2, b"two"), (3, b"three")]


def test_damage_ends_the_reading_instead_of_leaving_a_commit_out() -> None:
    files = MemoryFiles()
    journal, _ = begin(files)
    for number in range(3):
        journal.commit(b"%d" % number)
    files.contents[SEGMENT][BLOCK_BYTES + 100] ^= 1
    with pytest.raises(RecycledError):
        Tail(journal, 0).read(ALL)


NOTE = Operation(900, "INSERT INTO notes(text) VALUES (?)")
LAZY = Operation(901, "INSERT INTO notes(text) VALUES ('lazy' || ?)", lazy=True)
NOTES = Tables("notes", ("CREATE TABLE IF NOT EXISTS notes(text TEXT)",), (NOTE, LAZY))


def note(change: Change, text: str) -> None:
    change.write(NOTE, text)


def note_lazily(change: Change) -> None:
    change.write(LAZY, "")


async def test_the_ledger_hands_out_commits_once_they_are_durable(autojump_clock: object) -> None:
    async with memory_ledger(NOTES) as ledger:
        tail = ledger.tail(ledger.sequence)
        await ledger.run(note, "a")
        ((first, payload),) = await tail.read(ALL)
        assert first == ledger.sequence == tail.sequence
        assert b"a" in payload
        await ledger.run(note_lazily)
        await ledger.drain()
        ((second, payload),) = await tail.read(ALL)
        assert second == first + 1


async def test_a_checkpoint_is_no_obstacle_to_whoever_follows(autojump_clock: object) -> None:
    async with memory_ledger(NOTES) as ledger:
        tail = ledger.tail(ledger.sequence)
        read = []
        for number in range(100):
            await ledger.run(note, f"{number}" + "x" * 10_000)
            if number % 10 == 5:
                await ledger.checkpoint()
            if number % 3 == 2:
                read += await tail.read(ALL)
        read += await tail.read(ALL)
        assert [sequence for sequence, _ in read] == list(range(read[0][0], read[0][0] + 100))
        with pytest.raises(RecycledError):
            await ledger.tail(read[0][0]).read(ALL)
