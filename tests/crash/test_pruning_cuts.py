"""Power cuts while the past is let go: what somebody still waits for is there, and nothing refers to what went."""

import random  # noqa: TID251 - a seeded generator: the same states every time
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from tests.crash.power_cut import Flash, Weather, restart
from tests.crash.pruning_workload import Told, broken_promises, play
from tests.fakes.files import MemoryFiles

pytestmark = pytest.mark.slow

WEATHERS = (Weather.SECTORS, Weather.WRITES, Weather.NOTHING, Weather.EVERYTHING)
ROUNDS = 50
LEAST_STATES = 1_000


def record(*, careless: bool = False) -> tuple[MemoryFiles, Told]:
    files = MemoryFiles(recording=True)
    clock = MockClock(autojump_threshold=0)

    async def main() -> Told:
        return await play(files, ROUNDS, careless=careless)

    return files, trio.run(main, clock=clock)


def cut_many(files: MemoryFiles, told: Told, cuts: Sequence[int]) -> list[str]:
    chance = random.Random(len(cuts))
    flash, played = Flash(), 0
    broken: list[str] = []
    for number, cut in enumerate(sorted(cuts)):
        for event in files.events[played:cut]:
            flash.play(event)
        played = cut
        weather = WEATHERS[number % len(WEATHERS)]
        found = restart(flash.after_cut(weather, chance))
        broken += [f"cut {cut}, {weather.name}: {text}" for text in broken_promises(found, told, cut)]
        found.unregister()
    return broken


def test_no_cut_takes_away_what_somebody_waits_for() -> None:
    files, told = record()
    assert told.let_go > 200
    cuts = range(min(told.said.values()), len(files.events) + 1)
    assert len(cuts) >= LEAST_STATES
    assert cut_many(files, told, cuts) == []
    files.unregister()


def test_pruning_what_is_not_delivered_is_noticed() -> None:
    files, told = record(careless=True)
    cuts = random.Random(4).sample(range(len(files.events) // 2, len(files.events) + 1), 20)
    assert cut_many(files, told, cuts)
    files.unregister()
