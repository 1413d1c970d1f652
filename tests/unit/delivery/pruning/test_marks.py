"""Days and positions."""

import trio
from trio.testing import MockClock

from relay.delivery.pruning import marks
from relay.delivery.pruning.marks import DAY_MS, ClockTrust
from tests.fakes.family import open_family
from tests.fakes.ledger import memory_ledger

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


async def test_what_came_before_a_marked_day_is_known_for_certain() -> None:
    async with memory_ledger(marks.TABLES) as ledger:
        assert await ledger.read(marks.position_before, NOON_MS) == -1
        await ledger.run(marks.note, NOON_MS)
        first = ledger.position
        await ledger.run(marks.note, NOON_MS + DAY_MS)
        # Today's mark was made some time today: it says nothing of this morning.
        assert await ledger.read(marks.position_before, NOON_MS) == -1
        assert await ledger.read(marks.position_before, NOON_MS + DAY_MS) == first
        assert await ledger.read(marks.last_day) == 20_001


async def test_a_day_is_marked_once_and_only_if_something_happened() -> None:
    async with open_family() as family:
        ledger = family.ledger
        assert not await ledger.read(marks.is_new_day, NOON_MS)
        ann = await family.app("ann")
        await ann.create_room()
        assert await ledger.read(marks.is_new_day, NOON_MS)
        await ledger.run(marks.note, NOON_MS)
        assert not await ledger.read(marks.is_new_day, NOON_MS)
        assert not await ledger.read(marks.is_new_day, NOON_MS + DAY_MS)
        await ann.create_room()
        assert await ledger.read(marks.is_new_day, NOON_MS + DAY_MS)


async def test_days_that_have_not_come_are_taken_back() -> None:
    async with memory_ledger(marks.TABLES) as ledger:
        await ledger.run(marks.note, NOON_MS + 9_000 * DAY_MS)
        await ledger.run(marks.note, NOON_MS)
        assert await ledger.read(marks.last_day) == 20_000


async def test_a_clock_that_jumped_is_doubted_for_a_day(autojump_clock: MockClock) -> None:
    trust = ClockTrust()
    assert trust.holds(None, NOON_MS)
    assert trust.holds(20_000, NOON_MS + DAY_MS)
    for wrong_ms in (NOON_MS + 4_000 * DAY_MS, NOON_MS - 4_000 * DAY_MS):
        assert not trust.holds(20_000, wrong_ms)
        await trio.sleep(20 * 3600)
        assert not trust.holds(20_000, wrong_ms)
        assert trust.holds(20_000, NOON_MS)
    await trio.sleep(40 * 24 * 3600)
    # Nothing happened for forty days, and the clock went on all the time.
    assert trust.holds(20_000, NOON_MS + 40 * DAY_MS)
    assert not trust.holds(20_000, NOON_MS + 60 * DAY_MS)
    await trio.sleep(25 * 3600)
    assert trust.holds(20_000, NOON_MS + 60 * DAY_MS)
