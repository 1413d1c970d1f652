import pytest
import trio
import trio.testing

from relay.base.limits import MAX_LAZY_CHANGES
from relay.store.ledger import Change
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import memory_ledger
from tests.unit.store.test_ledger import GLIMPSED, NOTES, SEEN, put


def mark_seen(change: Change, number: int) -> None:
    change.write(SEEN, number, 1)


async def test_lazy_changes_are_forced_before_they_become_too_many(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_ledger(NOTES) as ledger:
        await ledger.run(put, 1, "a")
        durable = ledger.durable_position
        for _ in range(MAX_LAZY_CHANGES - 1):
            await ledger.run(mark_seen, 1)
        assert ledger.durable_position == durable
        await ledger.run(mark_seen, 1)
        with trio.fail_after(1):
            while ledger.durable_position == durable:
                await trio.sleep(0.01)


async def test_a_patient_change_waits_for_the_next_commit_however_long_that_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    files = MemoryFiles(recording=True)
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "a")
        files.events.clear()
        await ledger.run(lambda change: change.write(GLIMPSED, 7, 1))
        await trio.sleep(7 * 24 * 3600)
        assert files.events == []
        copy = files.copy()
        await ledger.run(put, 2, "b")
    async with memory_ledger(NOTES, files=copy) as ledger:
        assert await ledger.read(lambda index: index.value("SELECT seen FROM notes WHERE id = 1")) != 7
    async with memory_ledger(NOTES, files=files) as ledger:
        assert await ledger.read(lambda index: index.value("SELECT seen FROM notes WHERE id = 1")) == 7


async def test_a_lazy_change_beside_a_patient_one_is_not_kept_waiting(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_ledger(NOTES) as ledger:
        await ledger.run(put, 1, "a")
        durable = ledger.durable_position
        await ledger.run(lambda change: change.write(GLIMPSED, 7, 1))
        await trio.sleep(3600)
        await ledger.run(mark_seen, 1)
        await trio.sleep(31)
        assert ledger.durable_position == ledger.position == durable + 2


async def test_a_lazy_change_tells_its_watchers_at_once(autojump_clock: trio.testing.MockClock) -> None:
    def see(change: Change) -> None:
        change.write(SEEN, 1, 1)
        change.wake("seen")

    async with memory_ledger(NOTES) as ledger:
        await ledger.run(put, 1, "a")
        with ledger.watch("seen") as watch:
            await ledger.run(see)
            with trio.fail_after(0.1):
                await watch.wait()


async def test_lazy_changes_are_on_flash_after_a_clean_stop() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "a")
        await ledger.run(mark_seen, 42)
    async with memory_ledger(NOTES, files=files) as ledger:
        assert await ledger.read(lambda index: index.value("SELECT seen FROM notes")) == 42


async def test_an_error_of_the_block_comes_out_as_it_was_raised() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with memory_ledger(NOTES):
            raise LookupError("mine")
