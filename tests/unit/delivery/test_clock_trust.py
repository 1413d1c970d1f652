"""When ages can be reckoned."""

import trio
from trio.testing import MockClock

from relay.base.clock import EARLIEST
from relay.delivery.clock_trust import ClockTrust
from relay.delivery.pruning.marks import DAY_MS

NOON_MS = 30_000 * DAY_MS + DAY_MS // 2


async def test_a_clock_that_jumped_is_doubted_for_a_day(autojump_clock: MockClock) -> None:
    trust = ClockTrust()
    assert trust.holds(None, NOON_MS)
    assert trust.holds(30_000, NOON_MS + DAY_MS)
    for wrong_ms in (NOON_MS + 4_000 * DAY_MS, NOON_MS - 4_000 * DAY_MS):
        assert not trust.holds(30_000, wrong_ms)
        await trio.sleep(20 * 3600)
        assert not trust.holds(30_000, wrong_ms)
        assert trust.holds(30_000, NOON_MS)
    await trio.sleep(40 * 24 * 3600)
    # Nothing happened for forty days, and the clock went on all the time.
    assert trust.holds(30_000, NOON_MS + 40 * DAY_MS)
    assert not trust.holds(30_000, NOON_MS + 60 * DAY_MS)
    await trio.sleep(25 * 3600)
    assert trust.holds(30_000, NOON_MS + 60 * DAY_MS)


async def test_a_clock_that_was_not_set_is_doubted_until_a_day_after_it_is(autojump_clock: MockClock) -> None:
    trust = ClockTrust()
    assert not trust.holds(None, 5)
    await trio.sleep(40 * 3600)
    assert not trust.holds(None, int(EARLIEST.timestamp()) * 1000 - 1)
    await trio.sleep(20 * 3600)
    assert not trust.holds(None, NOON_MS)
    await trio.sleep(5 * 3600)
    assert trust.holds(None, NOON_MS)
