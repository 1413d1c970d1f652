"""A board without a clock of its own begins years ago: what leaves the house waits, the doors serve, nothing goes."""

from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.app import set_clock
from relay.base.clock import EARLIEST, SystemClock
from relay.delivery.pruning.marks import DAY_MS
from relay.household import devices
from tests.fakes.clock import FakeClock
from tests.fakes.family import open_family
from tests.flow.test_nothing_leaves_undurable import open_home
from tests.unit.delivery.pruning.test_pruner import bodies, pass_days, pruner

RIGHT_MS = int(EARLIEST.timestamp()) * 1000 + 40 * DAY_MS


async def test_what_is_for_another_server_waits_for_the_clock_and_leaves_when_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(set_clock, "_LOOK_EVERY_S", 0.01)
    right_ms = SystemClock().wall_ms()
    clock = FakeClock(right_ms)
    async with open_home(tmp_path, clock=clock) as home:
        await home.network.outboxes.greet(home.bob.name)
        clock.now_ms = 5_000
        home.heard.clear()
        path = f"/rooms/{home.shown}/send/m.room.message/early"
        await home.alice.good("PUT", path, {"msgtype": "m.text", "body": "before anybody knew the time"})
        assert "joined" in await home.alice.good("GET", f"/rooms/{home.shown}/joined_members")
        await trio.sleep(0.05)
        assert not home.heard
        standings = await home.network.outboxes.status()
        assert all(standing.failing_since_ms is None for standing in standings.values())
        clock.now_ms = right_ms
        while "before anybody knew the time" not in await home.bob.bodies(home.room):
            await trio.sleep(0.01)


async def test_nothing_goes_while_the_clock_is_not_set_nor_for_a_day_after_nor_for_its_wrong_time(
    autojump_clock: MockClock,
) -> None:
    async with open_family() as family:
        family.parts.clock.now_ms = 5_000  # type: ignore[attr-defined]
        ann = await family.app("ann")
        room = await ann.create_room()
        for number in range(50):
            await ann.say(room, f"{number}")
        await family.ledger.run(devices.touch, ann.user, ann.device, 5_000)
        made, clock = pruner(family, days=30)
        for _ in range(60):
            await pass_days(clock, 1)
            assert (await made.look(at_once=True)).events == 0
        clock.now_ms = RIGHT_MS
        assert (await made.look(at_once=True)).events == 0

        async def live(days: int) -> list[str]:
            for _ in range(days):
                await pass_days(clock, 1)
                await family.ledger.run(devices.touch, ann.user, ann.device, clock.now_ms)
                await made.look(at_once=True)
            return await bodies(ann, room)

        assert len(await live(22)) == 50
        # For certain they are as old as the first day of a clock that was set.
        assert await live(12) == ["49"]
