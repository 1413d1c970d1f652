"""Power cuts at every write and sync: nothing acknowledged is lost, nothing garbled is accepted."""

import random  # noqa: TID251 - a seeded generator: the same states every time
from collections.abc import Callable, Iterable, Sequence

import pytest

from tests.crash import scenarios
from tests.crash.power_cut import Weather
from tests.crash.restoring import restored
from tests.crash.scenarios import WEATHERS, Scenario

pytestmark = pytest.mark.slow

Figures = Callable[[str, dict[str, int]], None]
Broken = Callable[..., list[str]]
LEAST_STATES = 2_000


@pytest.fixture
def broken(figures: Figures) -> Broken:
    """Return what tries cuts, counts them and returns every broken promise."""

    def try_cuts(scenario: Scenario, cuts: Iterable[int], weathers: Sequence[Weather] = WEATHERS) -> list[str]:
        tried = scenario.try_cuts(sorted(cuts), weathers)
        figures("power cuts between file operations", {"states tried": tried.states, "losses": len(tried.broken)})
        return tried.broken

    return try_cuts


# Every cut twice, with another weather each time; in parts, so that none takes long.
@pytest.mark.parametrize("weathers", [WEATHERS, WEATHERS[2:] + WEATHERS[:2]], ids=["once", "again"])
@pytest.mark.parametrize("part", range(4))
def test_no_cut_of_a_first_run_breaks_a_promise(part: int, weathers: Sequence[Weather], broken: Broken) -> None:
    first = scenarios.household()
    cuts = range(len(first.events) + 1)
    assert 2 * len(cuts) >= LEAST_STATES
    assert broken(first, cuts[part::4], weathers) == []


def test_no_cut_of_a_run_with_two_connections_breaks_a_promise(broken: Broken) -> None:
    first = scenarios.threads()
    assert broken(first, random.Random(1).sample(range(len(first.events) + 1), 400)) == []


@pytest.mark.parametrize("in_threads", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_no_cut_after_a_cut_breaks_a_promise(in_threads: bool, seed: int, broken: Broken) -> None:
    first = scenarios.threads() if in_threads else scenarios.household()
    later = scenarios.second_cut(first, seed, in_threads=in_threads)
    whole = range(len(later.events) + 1)
    # The recovery itself is at the beginning.
    assert broken(later, {*whole[:40], *random.Random(seed).sample(whole, 70)}) == []


@pytest.mark.parametrize("weather", Weather)
@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.new_keyring,
        scenarios.wrapped_anew,
        scenarios.changed_source,
        scenarios.reset_box,
        scenarios.new_key_file,
        scenarios.kept_catalogue,
        scenarios.more_segments,
        scenarios.rebuilt,
        restored,
    ],
)
def test_no_cut_of_smaller_works_breaks_a_promise(
    scenario: Callable[[], Scenario], weather: Weather, broken: Broken
) -> None:
    work = scenario()
    cuts = random.Random(1).choices(range(len(work.events) + 1), k=50)
    assert broken(work, cuts, [weather]) == []


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
def test_a_failed_sync_breaks_no_promise(pattern: str, refused: Sequence[int], broken: Broken) -> None:
    work = scenarios.failing_household(pattern, refused)
    failed = next(number for number, event in enumerate(work.events) if event.kind == "failed_sync")
    near = range(failed, min(failed + 30, len(work.events)))
    elsewhere = random.Random(2).sample(range(len(work.events)), min(30, len(work.events)))
    assert broken(work, {*near, *elsewhere}) == []
