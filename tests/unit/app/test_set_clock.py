import trio
from trio.testing import MockClock

from relay.app.set_clock import wait_until_set, watch_clock
from relay.base.clock import EARLIEST
from tests.fakes.clock import FakeClock

RIGHT_MS = int(EARLIEST.timestamp()) * 1000


async def test_the_wait_ends_when_somebody_sets_the_clock(autojump_clock: MockClock) -> None:
    clock, begun_s = FakeClock(0), trio.current_time()

    async def set_it() -> None:
        await trio.sleep(3 * 24 * 3600)
        clock.now_ms = RIGHT_MS

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_it)
        await wait_until_set(clock)
    assert 0 <= trio.current_time() - begun_s - 3 * 24 * 3600 < 5


async def test_a_clock_that_is_set_makes_nobody_wait(autojump_clock: MockClock) -> None:
    begun_s = trio.current_time()
    await wait_until_set(FakeClock(RIGHT_MS))
    assert trio.current_time() == begun_s


def test_the_status_says_whether_the_clock_is_set() -> None:
    assert watch_clock(FakeClock(0)) == ({"clock_set": False}, [])
    assert watch_clock(FakeClock(RIGHT_MS)) == ({"clock_set": True}, [])
