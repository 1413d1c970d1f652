"""Power cuts at every write and sync: nothing acknowledged is lost, nothing garbled is accepted."""

import fnmatch
import random  # noqa: TID251 - a seeded generator: the same states every time
from collections.abc import Sequence

import pytest
import trio

from tests.crash.power_cut import Flash, Weather, restart, without
from tests.crash.workload import Acknowledged, broken_promises, play
from tests.fakes.files import Event, Kind, MemoryFiles

pytestmark = pytest.mark.slow

WEATHERS = (Weather.SECTORS, Weather.SECTORS, Weather.WRITES, Weather.NOTHING, Weather.EVERYTHING)
ROUNDS = 16
LEAST_STATES = 2_000


class FailingFiles(MemoryFiles):
    """A card that refuses some syncs: those of `pattern` whose number, from 0, is in `refused`."""

    def __init__(self, pattern: str, refused: Sequence[int]) -> None:
        super().__init__(recording=True)
        self._pattern = pattern
        self._refused = refused
        self._syncs = -1

    def before(self, kind: Kind, path: str) -> None:
        if kind == "sync" and fnmatch.fnmatch(path, self._pattern):
            self._syncs += 1
            if self._syncs in self._refused:
                raise OSError(5, "Input/output error")


def record(files: MemoryFiles, *, first: int = 0, rounds: int = ROUNDS) -> Acknowledged:
    return trio.run(play, files, first, rounds)


def cut_many(
    events: Sequence[Event],
    told: Acknowledged,
    cuts: Sequence[int],
    *,
    before: dict[str, bytes] | None = None,
    weathers: Sequence[Weather] = WEATHERS,
) -> list[str]:
    """Return every broken promise over these cuts, each after so many events."""
    chance = random.Random(len(cuts))
    flash, played = Flash(before), 0
    broken: list[str] = []
    for number, cut in enumerate(sorted(cuts)):
        for event in events[played:cut]:
            flash.play(event)
        played = cut
        weather = weathers[number % len(weathers)]
        files = restart(flash.after_cut(weather, chance))
        broken += [f"cut {cut}, {weather.name}: {text}" for text in broken_promises(files, told, cut)]
        files.unregister()
    return broken


def state_after(events: Sequence[Event], cut: int, weather: Weather, seed: int) -> dict[str, bytes]:
    flash = Flash()
    for event in events[:cut]:
        flash.play(event)
    return flash.after_cut(weather, random.Random(seed))


def test_no_cut_of_a_first_run_breaks_a_promise() -> None:
    files = MemoryFiles(recording=True)
    told = record(files)
    cuts = range(len(files.events) + 1)
    assert 2 * len(cuts) >= LEAST_STATES
    # Twice, with another weather at each cut.
    for weathers in (WEATHERS, WEATHERS[2:] + WEATHERS[:2]):
        assert cut_many(files.events, told, cuts, weathers=weathers) == []


@pytest.mark.parametrize("seed", range(8))
def test_no_cut_after_a_cut_breaks_a_promise(seed: int) -> None:
    files = MemoryFiles(recording=True)
    told = record(files)
    chance = random.Random(seed)
    cut = chance.randrange(300, len(files.events))
    before = state_after(files.events, cut, WEATHERS[seed % 3], seed)
    again = restart(before, recording=True)
    later = record(again, first=1_000, rounds=3)
    both = told.later(cut)
    both.take_in(later)
    cuts = chance.sample(range(len(again.events) + 1), 110)
    assert cut_many(again.events, both, cuts, before=before) == []


@pytest.mark.parametrize(
    ("kind", "pattern", "just_after"),
    [
        ("sync", "*/segment-*", "*/segment-*"),
        ("sync", "*/root.*", "*/segment-*"),
        ("sync", "*/index.db-wal", "*/index.db"),
        ("sync", "*/index.db", "*/root.*"),
        ("sync", "/state/media/*", "*/segment-*"),
        ("sync_folder", "/state/media", "*/segment-*"),
        ("sync_folder", "/state/journal", "*/segment-*"),
    ],
)
def test_a_sync_taken_away_is_noticed(kind: Kind, pattern: str, just_after: str) -> None:
    files = MemoryFiles(recording=True)
    told = record(files)
    events = without(files.events, kind, pattern)
    exposed = [at + 1 for at, event in enumerate(events) if at > 60 and fnmatch.fnmatch(event.path, just_after)]
    cuts = random.Random(1).sample(exposed, min(60, len(exposed)))
    assert cut_many(events, told, cuts, weathers=(Weather.SECTORS, Weather.NOTHING))


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        ("*/segment-*", [6 + 20]),
        ("*/segment-*", [6 + 60]),
        ("*/segment-*", [6 + 30, 6 + 31]),
        ("*/root.?", [5]),
        ("*/root.?", [6, 7]),
        ("*/index.db-wal", [4]),
        ("*/index.db-wal", [5]),
        ("*/index.db-wal", [6]),
        ("*/index.db", [3]),
        ("*/index.db", [4]),
        ("*/index.db", [4, 5]),
    ],
)
def test_a_failed_sync_breaks_no_promise(pattern: str, refused: list[int]) -> None:
    files = FailingFiles(pattern, refused)
    told = record(files)
    failed = next(number for number, event in enumerate(files.events) if event.kind == "failed_sync")
    near = range(failed, min(failed + 30, len(files.events)))
    elsewhere = random.Random(2).sample(range(len(files.events)), min(30, len(files.events)))
    assert cut_many(files.events, told, sorted({*near, *elsewhere})) == []
