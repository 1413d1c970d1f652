"""A card that refuses any one call, or all from some moment on: nothing acknowledged is lost, nothing else is shown."""

import errno
import hashlib
import random  # noqa: TID251 - a seeded generator: the same faults every time
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from relay.base.errors import RelayError
from relay.store.index import Index
from relay.store.ledger import Ledger
from tests.crash.power_cut import Flash, Weather, restart
from tests.crash.workload import CONFIG, SEEN, TABLES, Acknowledged, broken_promises, forget, put
from tests.fakes.faulty_files import FaultyFiles, FullFiles, Trouble, from_then_on, once
from tests.fakes.files import Kind
from tests.fakes.ledger import memory_ledger

pytestmark = pytest.mark.slow

NOTES = 24


def content(number: int) -> bytes:
    return hashlib.shake_128(str(number).encode()).digest(40_000 if number % 4 == 0 else 300)


async def send(ledger: Ledger, number: int, told: Acknowledged) -> None:
    told.begun_deleting[number - 3] = 0
    try:
        await ledger.run(put, number, content(number))
        told.notes[number] = (0, hashlib.sha256(content(number)).digest())
        await ledger.run(lambda change: change.write(SEEN, number))
        if number % 5 == 3:
            await ledger.run(forget, number - 3)
            told.deleted[number - 3] = 0
        else:
            del told.begun_deleting[number - 3]
    except RelayError:
        pass


async def live(files: FaultyFiles) -> tuple[Acknowledged, bool]:
    """Send notes with checkpoints between; return what was acknowledged, and whether the box is well at the end."""
    told, healthy = Acknowledged(), False
    try:
        async with memory_ledger(TABLES, files=files, config=CONFIG) as ledger:
            if ledger.healthy:
                told.starts.append((0, ledger.boot))
            for number in range(NOTES):
                await send(ledger, number, told)
                if number % 8 == 7:
                    await ledger.checkpoint()
            if isinstance(files, FullFiles):
                await trio.sleep(20)
                files.room = True
                await trio.sleep(40)
                await send(ledger, NOTES, told)
            healthy = ledger.healthy
            assert bool(ledger.status().fault) != healthy
            shown = await ledger.read(ids)
            # Whatever was refused is not shown; what was promised is, but for what a refused deletion may have taken.
            assert shown <= told.notes.keys()
            assert told.notes.keys() - shown <= told.begun_deleting.keys() | told.deleted.keys()
    except* (RelayError, OSError):
        pass
    return told, healthy


def ids(index: Index) -> set[int]:
    return {number for (number,) in index.rows("SELECT id FROM notes")}


def check(files: FaultyFiles) -> bool:
    """Return whether the box ended well; whatever happened, a restart finds all that was promised."""
    told, healthy = trio.run(live, files, clock=trio.testing.MockClock(autojump_threshold=0))
    states = [{path: bytes(data) for path, data in files.contents.items()}]
    if files.recording:
        flash = Flash()
        for event in files.events:
            flash.play(event)
        states += [flash.after_cut(weather, random.Random(1)) for weather in (Weather.SECTORS, Weather.NOTHING)]
    files.unregister()
    for state in states:
        again = restart(state)
        assert broken_promises(again, told, len(files.events)) == []
        again.unregister()
    return healthy


def _all_calls() -> list[tuple[Kind, str]]:
    """Return every call of an undisturbed life."""
    files = FaultyFiles()
    trio.run(live, files, clock=trio.testing.MockClock(autojump_threshold=0))
    files.unregister()
    return files.calls


def calls(*, reads: bool = False) -> list[int]:
    """Return the numbers of those calls, the ones that only read left out unless wanted."""
    return [number for number, (kind, _) in enumerate(_all_calls()) if reads or kind != "read"]


def some(numbers: Sequence[int], count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(numbers, min(count, len(numbers)))


def refusing(trouble: Trouble) -> FaultyFiles:
    return FaultyFiles(trouble, recording=True)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_any_one_call_may_be_refused(code: int) -> None:
    well = [check(refusing(once(at, code))) for at in some(calls(), 140, code)]
    assert sum(well) > len(well) * 0.9


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_from_any_call_on_all_may_be_refused(code: int) -> None:
    for at in some(calls(), 50, code):
        check(refusing(from_then_on(at, code)))


def test_a_card_that_was_full_for_a_while_needs_no_restart() -> None:
    # From the first note on: a box that starts on a full card opens to read.
    starts = [number for number, (kind, path) in enumerate(_all_calls()) if kind == "sync" and "/root." in path]
    numbers = some([number for number in calls() if number > starts[4]], 80, 1)
    stuck = [at for at in numbers if not check(FullFiles(at, recording=True))]
    assert stuck == []


def test_any_one_read_may_be_refused() -> None:
    for at in some(calls(reads=True), 140, 3):
        check(FaultyFiles(once(at, errno.EIO)))
