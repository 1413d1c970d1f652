"""What nobody may see: answers from before flash holds them, and anything of a batch that flash refused."""

import errno
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from relay.base.errors import ForbiddenError, StorageError
from relay.store import checkpoint, step_queue
from relay.store.ledger import Change, Index, Ledger
from tests.fakes.faulty_files import FullFiles
from tests.fakes.files import Kind, MemoryFiles
from tests.fakes.ledger import memory_ledger
from tests.unit.store.test_ledger import NOTES, PUT, put, texts


class HeldFiles(MemoryFiles):
    """A card whose segment syncs raise while `failing`."""

    failing = False
    failures = 0

    def before(self, kind: Kind, path: str) -> None:
        if self.failing and kind == "sync" and "segment" in path:
            self.failures += 1
            raise OSError(5, "Input/output error")


class HeldJournal:
    """Holds every commit of a ledger back until `released`."""

    def __init__(self, ledger: Ledger) -> None:
        self.released = trio.Event()
        self._run = ledger._committer._workers.run
        ledger._committer._workers = self  # type: ignore[assignment]

    async def run(self, function: object, *args: object) -> object:
        await self.released.wait()
        return await self._run(function, *args)  # type: ignore[arg-type]


async def test_every_answer_waits_until_flash_holds_what_it_is_based_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_ledger(NOTES) as ledger, trio.open_nursery() as nursery:
        await ledger.run(put, 1, "before")
        held = HeldJournal(ledger)
        answered: list[str] = []

        async def ask(name: str) -> None:
            match name:
                case "run":
                    await ledger.run(put, 2, "held")
                case "read":
                    assert await ledger.read(texts) == ["before", "held"]
                case "run without writes":
                    await ledger.run(lambda change: change.value("SELECT count(*) FROM notes"))
                case "refusal":
                    with pytest.raises(ForbiddenError):
                        await ledger.run(refuse_second)
                case "durable":
                    await ledger.durable(ledger.position)
                case "watch":
                    await watch.wait()
            answered.append(name)

        with ledger.watch(("note", 2)) as watch:
            for name in ("run", "read", "run without writes", "refusal", "durable", "watch"):
                nursery.start_soon(ask, name)
                await trio.sleep(1)
            _, position = await ledger.run_early(lambda change: change.value("SELECT 1"))
            assert position == ledger.position > ledger.durable_position
            assert answered == []
            held.released.set()
            await trio.sleep(1)
            assert sorted(answered) == ["durable", "read", "refusal", "run", "run without writes", "watch"]


def refuse_second(change: Change) -> None:
    assert change.value("SELECT count(*) FROM notes") == 2
    raise ForbiddenError("there are two already")


async def test_after_a_failed_sync_nothing_of_the_batch_was_seen_and_reads_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    files = HeldFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "kept")
        held = HeldJournal(ledger)
        files.failing = True
        outcomes: list[str] = []

        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "write": lambda: ledger.run(put, 2, "lost"),
            "read": lambda: ledger.read(texts),
            "durable": lambda: ledger.durable(ledger.position),
        }

        async def expect_error(name: str) -> None:
            with pytest.raises(StorageError):
                await asks[name]()
            outcomes.append(name)

        with ledger.watch(("note", 2)) as watch:
            async with trio.open_nursery() as nursery:
                for name in asks:
                    nursery.start_soon(expect_error, name)
                    await trio.sleep(1)
                held.released.set()
            assert sorted(outcomes) == ["durable", "read", "write"]
            assert files.failures == 2
            assert not ledger.healthy
            assert await ledger.read(texts) == ["kept"]
            with pytest.raises(StorageError):
                await ledger.run(put, 3, "refused")
            assert await ledger.read(texts) == ["kept"]
            with trio.move_on_after(60) as scope:
                await watch.wait()
            assert scope.cancelled_caught
    files.failing = False
    async with memory_ledger(NOTES, files=files) as ledger:
        assert (await ledger.read(texts))[0] == "kept"


async def test_a_full_card_stops_intake_until_there_is_room_and_needs_no_restart(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for module in (checkpoint, step_queue):
        for level in ("warning", "error"):
            monkeypatch.setattr(module.log, level, lambda event, **_facts: said.append(event))
    files = FullFiles(1 << 60)
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "kept")
        await ledger.checkpoint()
        await ledger.run(put, 2, "kept in the journal" * 9_000)
        files.fill()
        await ledger.checkpoint()
        assert ledger.status().fault_code == "storage.no_room"
        assert [text[:7] for text in await ledger.read(texts)] == ["kept", "kept in"]
        with pytest.raises(StorageError):
            await ledger.run(put, 3, "refused")
        await trio.sleep(600)
        assert not ledger.status().healthy
        files.room = True
        await trio.sleep(31)
        assert ledger.status().healthy
        assert ledger.status().fault == ""
        await ledger.run(put, 4, "taken in again")
        cut = files.copy()
    assert said == ["store.index_not_written", "store.intake_stopped", "store.intake_resumed"]
    async with memory_ledger(NOTES, files=cut) as ledger:
        assert [text[:7] for text in await ledger.read(texts)] == ["kept", "kept in", "taken i"]


async def test_a_change_that_was_undone_is_never_called_durable_later(autojump_clock: trio.testing.MockClock) -> None:
    files = FullFiles(1 << 60)
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "kept")
        files.trouble = lambda _number, kind, path: errno.ENOSPC if kind == "write" and "segment" in path else 0
        _, undone = await ledger.run_early(put, 2, "undone")
        await trio.sleep(0.5)
        assert not ledger.status().healthy
        files.trouble = lambda _number, _kind, _path: 0
        await trio.sleep(31)
        assert ledger.status().healthy
        _, later = await ledger.run_early(put, 3, "later")
        assert later > undone
        await ledger.durable(later)
        with pytest.raises(StorageError, match="undone"):
            await ledger.durable(undone)
        assert await ledger.read(texts) == ["kept", "later"]


async def test_one_failed_sync_is_answered_by_a_second_copy_on_another_segment() -> None:
    files = HeldFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "a")
        before = ledger.status()
        files.failing = True
        files.before = lambda kind, path: fail_once(files, kind, path)  # type: ignore[method-assign]
        await ledger.run(put, 2, "b")
        await ledger.run(put, 3, "c")
        assert ledger.healthy
        await ledger.read(texts)
        # The segment behind the failed sync holds acknowledged changes and is not trusted: a checkpoint at once.
        assert ledger.status().checkpoints == before.checkpoints + 1
        cut = files.copy()
    async with memory_ledger(NOTES, files=cut) as ledger:
        assert await ledger.read(texts) == ["a", "b", "c"]


def fail_once(files: HeldFiles, kind: Kind, path: str) -> None:
    if kind == "sync" and "segment" in path and not files.failures:
        files.failures += 1
        raise OSError(5, "Input/output error")


async def test_a_cancelled_step_that_has_not_begun_never_runs(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_ledger(NOTES) as ledger:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ledger.run(put, 1, "never")
        assert await ledger.read(texts) == []


async def test_a_step_that_breaks_a_table_rule_is_undone_whole() -> None:
    def put_twice(change: Change) -> None:
        change.write(PUT, 7, "first")
        change.write(PUT, 7, "second")

    async with memory_ledger(NOTES) as ledger:
        with pytest.raises(Exception, match="UNIQUE"):
            await ledger.run(put_twice)
        assert await ledger.read(texts) == []


async def test_a_read_sees_the_step_before_it() -> None:
    async with memory_ledger(NOTES) as ledger:
        _, position = await ledger.run_early(put, 1, "a")
        assert await ledger.read(lambda index: index.position) == position


def count(index: Index) -> int:
    total: int = index.value("SELECT count(*) FROM notes")
    return total


async def test_many_steps_at_once_each_happen_once(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_ledger(NOTES) as ledger:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ledger.run, put, number, "x")
        assert await ledger.read(count) == 100


async def test_the_index_is_not_committed_before_the_journal_holds_what_it_shows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_ledger(NOTES) as ledger, trio.open_nursery() as nursery:
        await ledger.run(put, 1, "a")
        held = HeldJournal(ledger)
        await ledger.run_early(put, 2, "b")
        await trio.sleep(1)
        nursery.start_soon(ledger.checkpoint)
        await trio.sleep(1)
        assert ledger.status().checkpoints == 0
        assert ledger._queue._index.in_transaction
        held.released.set()
        await trio.sleep(1)
        assert ledger.status().checkpoints == 1
        assert ledger._queue._index.sequence == ledger._journal.sequence
