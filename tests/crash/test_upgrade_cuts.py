"""Power cuts at every write of an upgrade: both releases find the old folder or the new one, and never a mixture."""

import random  # noqa: TID251 - a seeded generator: the same states every time
from collections.abc import Sequence

import apsw
import pytest
import trio

from relay.base.errors import NewerFormatError, RelayError
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.tables import STATE_FORMAT, Tables
from tests.crash.power_cut import Flash, Weather, restart, without
from tests.fakes.files import Event, MemoryFiles
from tests.fakes.formats import CONFIG, NEW, NEXT, OLD, layout, put, start
from tests.fakes.ledger import memory_ledger

pytestmark = pytest.mark.slow

COUNT = 30
WEATHERS = (Weather.SECTORS, Weather.WRITES, Weather.NOTHING, Weather.EVERYTHING)
EXPECTED = [(number, 500 + number) for number in range(COUNT)]


def old_box(*, cleanly: bool) -> dict[str, bytes]:
    async def fill() -> MemoryFiles:
        files = MemoryFiles()
        async with memory_ledger(OLD, files=files, config=CONFIG) as ledger:
            for number in range(COUNT):
                await ledger.run(put, number, bytes([number]) * (500 + number))
                if number == COUNT // 2:
                    await ledger.checkpoint()
            cut = files.copy()
        return files if cleanly else cut

    return {path: bytes(content) for path, content in trio.run(fill).contents.items()}


def recorded_upgrade(before: dict[str, bytes], *, number: int = 900) -> list[Event]:
    files = restart(before, recording=True)

    async def live() -> None:
        async with memory_ledger(NEW, files=files, config=CONFIG) as ledger:
            await ledger.run(put, number, b"the first of the new release")

    trio.run(live)
    files.unregister()
    return files.events


def look(files: MemoryFiles, release: Tables) -> str:
    """Return what is wrong with what a start of this release finds, or nothing."""
    try:
        index, journal = start(files, release)
    except NewerFormatError:
        return "" if release is OLD else "refused by its own release"
    except (RelayError, apsw.Error) as error:
        return f"{type(error).__name__}: {error}"
    try:
        return wrong_with(index, journal, release)
    except apsw.Error as error:
        return f"damaged: {error}"
    finally:
        index.close()
        journal.close()


def wrong_with(index: IndexFile, journal: Journal, release: Tables) -> str:
    newest = NEXT if release is NEW else STATE_FORMAT
    if (index.format, journal.format) != (newest, newest):
        return f"index of format {index.format}, journal of {journal.format}"
    if index.rows("SELECT id, length(text) FROM letters WHERE id < 900 ORDER BY id") != EXPECTED:
        return "letters are lost"
    if release is NEW and index.rows("SELECT id, size FROM letters WHERE id < 900 ORDER BY id") != EXPECTED:
        return "letters are not measured"
    return "" if layout(index) == LAYOUTS[release is NEW] else "the tables are a mixture"


def layouts() -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    return layout(start(MemoryFiles(), OLD)[0]), layout(start(MemoryFiles(), NEW)[0])


LAYOUTS = layouts()


def cut_many(
    before: dict[str, bytes],
    events: Sequence[Event],
    *,
    seed: int,
    releases: Sequence[Tables],
    weathers: Sequence[Weather] = WEATHERS,
) -> list[str]:
    chance = random.Random(seed)
    flash = Flash(before)
    broken: list[str] = []
    for cut in range(len(events) + 1):
        if cut:
            flash.play(events[cut - 1])
        weather = weathers[(cut + seed) % len(weathers)]
        found = flash.after_cut(weather, chance)
        for release in releases:
            files = restart(found)
            wrong = look(files, release)
            broken += [f"cut {cut}, {weather.name}, {'new' if release is NEW else 'old'}: {wrong}"] if wrong else []
            files.unregister()
    return broken


@pytest.mark.parametrize("cleanly", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_no_cut_leaves_a_mixture(cleanly: bool, seed: int) -> None:
    before = old_box(cleanly=cleanly)
    events = recorded_upgrade(before)
    assert len(events) > 60
    assert cut_many(before, events, seed=seed, releases=(NEW, OLD)) == []


@pytest.mark.parametrize("seed", range(6))
def test_no_cut_of_an_upgrade_after_a_cut_of_an_upgrade_leaves_a_mixture(seed: int) -> None:
    before = old_box(cleanly=False)
    events = recorded_upgrade(before)
    chance = random.Random(seed)
    flash = Flash(before)
    for event in events[: chance.randrange(10, len(events))]:
        flash.play(event)
    between = flash.after_cut(WEATHERS[seed % len(WEATHERS)], chance)
    assert cut_many(between, recorded_upgrade(between, number=901), seed=seed, releases=(NEW,)) == []


@pytest.mark.parametrize(
    ("kind", "pattern"), [("sync", "*/index.db-wal"), ("sync", "*/index.db"), ("sync", "*/root.*")]
)
def test_a_sync_taken_away_from_an_upgrade_is_noticed(kind: str, pattern: str) -> None:
    before = old_box(cleanly=False)
    events = without(recorded_upgrade(before), kind, pattern)
    cruel = (Weather.SECTORS, Weather.WRITES)
    assert any(cut_many(before, events, seed=seed, releases=(NEW, OLD), weathers=cruel) for seed in range(12))
