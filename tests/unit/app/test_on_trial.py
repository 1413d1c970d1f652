from pathlib import Path

import trio
from trio.testing import MockClock

from relay.app.on_trial import start_again_when_due
from relay.base.trial import FILE_NAME, Trial, Uptime


def now() -> Uptime:
    return Uptime("boot", trio.current_time())


def nobody_asks(_again: bool) -> None:
    raise AssertionError


async def test_a_box_with_settings_on_trial_starts_again_when_their_time_is_up(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    asked: list[tuple[bool, float]] = []
    begun = trio.current_time()
    (tmp_path / FILE_NAME).write_bytes(Trial(now(), begun + 60, settings=True).render())
    await start_again_when_due(tmp_path, lambda again: asked.append((again, trio.current_time() - begun)), now)
    assert asked == [(True, 60.0)]
    # What could not go back at the start is not tried again and again.
    await start_again_when_due(tmp_path, lambda again: asked.append((again, 0.0)), now)
    assert len(asked) == 1


async def test_settings_that_were_said_right_meanwhile_stay(tmp_path: Path, autojump_clock: MockClock) -> None:
    (tmp_path / FILE_NAME).write_bytes(Trial(now(), trio.current_time() + 60, settings=True).render())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_again_when_due, tmp_path, nobody_asks, now)
        await trio.sleep(30)
        (tmp_path / FILE_NAME).unlink()


async def test_a_network_on_trial_is_none_of_the_boxs_business(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(Trial(now(), trio.current_time() + 60, checkpoint="/c/1").render())
    await start_again_when_due(tmp_path, nobody_asks, now)
