"""The look that makes room."""

import secrets
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.base.config import Config
from relay.base.ids import RoomId
from relay.base.limits import PRUNE_EVERY_S, PRUNE_WORTH_EVENTS
from relay.delivery.pruning.marks import DAY_MS
from relay.delivery.pruning.pruner import Pruner, used_bytes
from relay.household import devices
from relay.rooms.matrix.storage import history
from tests.fakes.clock import FakeClock
from tests.fakes.family import SERVER, App, Family, at, open_family
from tests.fakes.graph_check import flaws

MANY_BYTES = 1 << 40


def pruner(family: Family, *, budget_bytes: int = MANY_BYTES, **retention: Any) -> tuple[Pruner, FakeClock]:
    config = Config.parse({"server": {"name": SERVER}, "retention": retention})
    clock = FakeClock(family.parts.clock.wall_ms())
    return Pruner(family.ledger, config, clock, SERVER, budget_bytes=budget_bytes, pause_s=0), clock


async def pass_days(clock: FakeClock, days: int) -> None:
    clock.now_ms += days * DAY_MS
    await trio.sleep(days * 24 * 3600)


async def bodies(app: App, room: str) -> list[str]:
    page = await app.get(at(room, "/messages?dir=b&limit=200"))
    return [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"][::-1]


async def test_by_default_everything_stays(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        for number in range(100):
            await ann.say(room, f"{number}")
        made, clock = pruner(family)
        clock.now_ms += 2 * DAY_MS
        assert (await made.look(at_once=True)).events == 0
        assert len(await bodies(ann, room)) == 100


async def test_a_room_that_wants_little_kept_is_kept_short_and_others_are_not(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        short, long = await ann.create_room(), await ann.create_room()
        await ann.put(at(short, "/state/m.room.retention"), {"max_lifetime": DAY_MS})
        for number in range(100):
            await ann.say(short, f"{number}")
            await ann.say(long, f"{number}")
        made, clock = pruner(family, least_days=1)
        clock.now_ms += DAY_MS // 2
        assert (await made.look()).events == 0
        clock.now_ms += 2 * DAY_MS
        assert (await made.look()).events > 99
        assert await bodies(ann, short) == ["99"]
        assert len(await bodies(ann, long)) == 100
        assert await family.ledger.read(flaws) == []
        assert made.total.events > 99


async def test_what_a_device_has_not_synced_stays_until_it_has(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        room = await ann.create_room(preset="public_chat")
        await bob.join(room)
        made, clock = pruner(family, days=1, least_days=0, device_days=30)
        token = (await bob.sync())["next_batch"]
        token = (await bob.sync(token))["next_batch"]
        for number in range(100):
            await ann.say(room, f"{number}")
        clock.now_ms += 3 * DAY_MS
        await family.ledger.run(devices.touch, bob.user, bob.device, clock.now_ms)
        await made.look(at_once=True)
        assert len(await bodies(ann, room)) == 100

        answer = await bob.sync(token)
        family.parts.clock.now_ms += DAY_MS  # type: ignore[attr-defined]
        await bob.sync(answer["next_batch"])
        await made.look(at_once=True)
        assert await bodies(ann, room) == ["99"]
        # An app that comes back with an old token is told that something is missing.
        again = await bob.sync(token)
        assert again["rooms"]["join"][room]["timeline"]["limited"]


async def test_little_waits_for_a_day_before_it_is_worth_a_write(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        for number in range(PRUNE_WORTH_EVENTS // 4):
            await ann.say(room, f"{number}")
        made, clock = pruner(family, days=1, least_days=0)
        clock.now_ms += 2 * DAY_MS
        assert (await made.look()).events > 0
        await ann.say(room, "one more")
        clock.now_ms += 2 * DAY_MS
        before = family.ledger.position
        assert (await made.look()).events == 0
        await trio.sleep(24 * 3600)
        assert (await made.look()).events == 1
        assert family.ledger.position > before


async def test_a_quiet_box_writes_nothing(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        await ann.create_room()
        made, clock = pruner(family, days=1)
        for _ in range(3):
            # What came before the last event of the room goes once.
            await pass_days(clock, 1)
            await made.look()
        before = family.ledger.position
        for _ in range(5):
            await pass_days(clock, 1)
            await made.look()
        assert family.ledger.position == before


async def test_when_space_runs_short_the_oldest_of_all_rooms_go_first(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        rooms = [await ann.create_room() for _ in range(3)]
        for number in range(300):
            await ann.say(rooms[number % 3], f"{number:06}" + secrets.token_hex(1500))
        used = await family.ledger.read(used_bytes)
        made, clock = pruner(family, budget_bytes=used, least_days=1)
        # Nothing is old enough yet.
        assert (await made.look()).short_of_space
        clock.now_ms += 3 * DAY_MS
        done = await made.look()
        assert not done.short_of_space
        assert done.events > 50
        assert await family.ledger.read(used_bytes) <= 0.70 * used
        left = [await bodies(ann, room) for room in rooms]
        oldest = [int(of_room[0][:6]) for of_room in left]
        assert max(oldest) - min(oldest) < 200
        assert all(of_room[-1].startswith("000") for of_room in left)
        assert await family.ledger.read(flaws) == []


async def test_a_clock_that_jumps_lets_nothing_go(autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        for number in range(100):
            await ann.say(room, f"{number}")
        made, clock = pruner(family, days=30)
        await made.look()
        clock.now_ms += 3_650 * DAY_MS
        assert (await made.look(at_once=True)).events == 0
        clock.now_ms -= 3_650 * DAY_MS
        await trio.sleep(3 * 24 * 3600)
        assert (await made.look(at_once=True)).events == 0
        assert len(await bodies(ann, room)) == 100


@pytest.mark.parametrize("limited", [True, False])
async def test_only_so_many_events_of_a_room_stay(limited: bool, autojump_clock: MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        for number in range(100):
            await ann.say(room, f"{number}")
        made, clock = pruner(family, events_per_room=20 if limited else 0)
        await made.look(at_once=True)
        assert len(await bodies(ann, room)) == 100
        await pass_days(clock, 8)
        await made.look(at_once=True)
        assert len(await bodies(ann, room)) == (20 if limited else 100)
        assert (await family.ledger.read(history.let_go)).rooms == limited
        assert RoomId(room)


async def test_it_looks_by_itself(autojump_clock: MockClock) -> None:
    async with open_family() as family, trio.open_nursery() as nursery:
        ann = await family.app("ann")
        room = await ann.create_room()
        for number in range(100):
            await ann.say(room, f"{number}")
        made, clock = pruner(family, days=1, least_days=0)
        clock.now_ms += 2 * DAY_MS
        await nursery.start(made.run)
        await trio.sleep(2 * PRUNE_EVERY_S)
        assert await bodies(ann, room) == ["99"]
        nursery.cancel_scope.cancel()
