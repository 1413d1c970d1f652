"""The rooms' own tasks: they wait, try again, take up what a restart left, and do not wait for each other."""

import copy
from typing import Any

import trio
from trio.testing import MockClock

from relay.base.ids import EventId
from relay.base.limits import INBOX_LIFE_S, INBOX_REFUSED_LIFE_S
from relay.rooms.matrix.storage import graph, inbox_book
from tests.fakes.boxes import Box, Town
from tests.fakes.files import MemoryFiles


async def _raw(box: Box, event_id: EventId) -> dict[str, Any]:
    stored = await box.ledger.read(graph.event, event_id)
    assert stored is not None
    return copy.deepcopy(dict(stored.event.raw))


async def test_a_gap_is_filled_by_itself_once_the_sleeping_peer_wakes(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there, trio.open_nursery() as nursery:
        room = await here.create(here.user("anna"))
        await there.joining.join(there.user("bert"), room, [here.name])
        await nursery.start(there.inboxes.run)
        said = [await here.say(room, here.user("anna"), f"m{number}") for number in range(3)]
        raw = await _raw(here, said[-1])
        town.asleep.add(here.name)
        await there.receive(here.name, [raw])
        await trio.sleep(100)
        assert await there.bodies(room) == []
        town.asleep.clear()
        with trio.fail_after(700), there.ledger.watch(("room", room)) as watch:
            while await there.bodies(room) != ["m0", "m1", "m2"]:
                await watch.wait()
        nursery.cancel_scope.cancel()


async def test_a_restart_takes_up_what_was_waiting(autojump_clock: MockClock) -> None:
    town, files = Town(), MemoryFiles()
    async with town.box("a.example") as here:
        async with town.box("b.example", files) as there:
            room = await here.create(here.user("anna"))
            await there.joining.join(there.user("bert"), room, [here.name])
            await here.say(room, here.user("anna"), "first")
            raw = await _raw(here, await here.say(room, here.user("anna"), "second"))
            await there.receive(here.name, [raw])
        async with town.box("b.example", files) as there, trio.open_nursery() as nursery:
            await nursery.start(there.inboxes.run)
            with trio.fail_after(60), there.ledger.watch(("room", room)) as watch:
                while await there.bodies(room) != ["first", "second"]:
                    await watch.wait()
            nursery.cancel_scope.cancel()
    files.unregister()


async def test_one_rooms_gap_does_not_hold_another_room(autojump_clock: MockClock) -> None:
    town = Town()
    async with (
        town.box("a.example") as here,
        town.box("b.example") as there,
        town.box("c.example") as silent,
        trio.open_nursery() as nursery,
    ):
        stuck, moving = await silent.create(silent.user("carl")), await here.create(here.user("anna"))
        await there.joining.join(there.user("bert"), stuck, [silent.name])
        await there.joining.join(there.user("bert"), moving, [here.name])
        await nursery.start(there.inboxes.run)
        await silent.say(stuck, silent.user("carl"), "lost")
        unheard = await _raw(silent, await silent.say(stuck, silent.user("carl"), "late"))
        await here.say(moving, here.user("anna"), "one")
        heard = await _raw(here, await here.say(moving, here.user("anna"), "two"))
        town.asleep.add(silent.name)
        await there.receive(silent.name, [unheard])
        await there.receive(here.name, [heard])
        with trio.fail_after(30), there.ledger.watch(("room", moving)) as watch:
            while await there.bodies(moving) != ["one", "two"]:
                await watch.wait()
        assert await there.ledger.read(inbox_book.rooms) == [stuck]
        nursery.cancel_scope.cancel()


async def test_an_event_whose_ancestors_stay_away_too_long_is_given_up(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        await there.joining.join(there.user("bert"), room, [here.name])
        await here.say(room, here.user("anna"), "lost")
        raw = await _raw(here, await here.say(room, here.user("anna"), "late"))
        town.asleep.add(here.name)
        await there.receive(here.name, [raw])
        assert await there.settle() == 1
        # A clock that jumps by years proves nothing: it was wrong before, or is now.
        for years in (20, -50):
            town.clock.now_ms += years * 365 * 86_400_000
            assert await there.settle() == 1
        await trio.sleep(INBOX_LIFE_S + 1)
        assert await there.settle() == 0
        assert await there.ledger.read(inbox_book.rooms) == []


async def test_what_its_sender_cannot_explain_yet_waits_for_its_ancestors_to_come_by_themselves(
    autojump_clock: MockClock,
) -> None:
    # A server whose own gaps are open answers 404 for them, again and again; the event was acknowledged all the same.
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        await there.joining.join(there.user("bert"), room, [here.name])
        first = await _raw(here, await here.say(room, here.user("anna"), "first"))
        second = await _raw(here, await here.say(room, here.user("anna"), "second"))
        town.knowing_nothing.add(here.name)
        await there.receive(here.name, [second])
        for _ in range(20):
            await trio.sleep(INBOX_REFUSED_LIFE_S / 30)
            assert await there.settle() == 1
        await there.receive(here.name, [first])
        assert await there.settle() == 0
        assert await there.bodies(room) == ["first", "second"]


async def test_what_its_sender_never_explains_is_given_up(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        await there.joining.join(there.user("bert"), room, [here.name])
        await here.say(room, here.user("anna"), "lost")
        raw = await _raw(here, await here.say(room, here.user("anna"), "late"))
        town.knowing_nothing.add(here.name)
        await there.receive(here.name, [raw])
        for _ in range(5):
            assert await there.settle() == 1
        await trio.sleep(INBOX_REFUSED_LIFE_S + 1)
        assert await there.settle() == 0
        assert await there.ledger.read(inbox_book.rooms) == []
