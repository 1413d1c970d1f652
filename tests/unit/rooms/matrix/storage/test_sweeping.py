"""Sweeping: what nothing refers to goes, and nothing else."""

import trio

from relay.base.ids import RoomId
from relay.rooms.matrix.storage import graph, pruning
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.rooms.matrix.storage.sweeping import NEW_GROUPS, Sweeper
from relay.store.ledger import Index
from tests.fakes.boxes import Box, Town
from tests.fakes.graph_check import flaws
from tests.fakes.shared_rooms import two_in_a_room


async def count(box: Box, table: str) -> int:
    return int(await box.ledger.read(lambda index: index.value(f"SELECT count(*) FROM {table}")))


async def sweep(box: Box) -> tuple[int, int]:
    swept = await Sweeper(box.ledger, box.name, trio.lowlevel.checkpoint).sweep()
    assert await box.ledger.read(flaws) == []
    return swept.groups, swept.events


async def let_go(box: Box, room: RoomId) -> None:
    while (await box.ledger.run(pruning.prune, room, 1 << 62, lambda _index, _stored: True, box.name)).more:
        pass
    await box.ledger.run(pruning.finish, room, box.name, ask_others=False)


async def test_superseded_state_goes_with_its_groups_and_auth_chains_stay() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        for number in range(80):
            await box.writer.send(room, anna, "m.room.topic", {"topic": f"{number}"}, state_key="")
        for number in range(5):
            await box.writer.send(
                room, anna, "m.room.member", {"membership": "join", "displayname": f"{number}"}, state_key=anna
            )
        before = await box.state(room)
        assert await sweep(box) == (0, 0)

        await let_go(box, room)
        groups, events = await sweep(box)

        # Chains are bounded: what is left is a whole state and few deltas on it, with what those name.
        assert events >= 79 - 33
        assert groups >= 80 - 33
        assert await box.state(room) == before
        assert await count(box, "state_groups") <= 34
        assert await count(box, "events") == len(before) + 5 + 79 - events
        await box.say(room, anna, "after")
        await box.writer.send(room, anna, "m.room.topic", {"topic": "after"}, state_key="")
        assert await box.ledger.read(flaws) == []


async def test_state_that_a_fork_still_knows_stays() -> None:
    town = Town()
    async with two_in_a_room(town) as (one, two, anna, otto, room):
        for number in range(10):
            await one.writer.send(room, anna, "m.room.topic", {"topic": f"{number}"}, state_key="")
            await two.say(room, otto, f"{number}")
        await town.settle()
        await let_go(one, room)
        await sweep(one)
        await two.say(room, otto, "on")
        await one.writer.send(room, anna, "m.room.topic", {"topic": "on"}, state_key="")
        await town.settle()
        assert await one.state(room) == await two.state(room)
        assert await one.ledger.read(flaws) == []


async def test_refused_events_of_the_past_go_too() -> None:
    town = Town()
    async with two_in_a_room(town) as (one, two, anna, otto, room):
        await one.set_membership(room, anna, otto, "ban")
        for number in range(5):
            await two.say(room, otto, f"too late {number}")
        await two.push()
        refused = await one.ledger.read(
            lambda index: index.value("SELECT count(*) FROM events WHERE place IS NULL AND flags & 4")
        )
        assert refused == 5
        for number in range(5):
            await one.say(room, anna, f"{number}")
        await let_go(one, room)

        assert (await sweep(one))[1] >= 5

        assert await count(one, "events WHERE flags & 4") == 0
        assert (await one.bodies(room)) == ["4"]


async def test_it_is_due_after_many_new_groups_only() -> None:
    async with Town().box("box.test") as box:
        room = await box.create(box.user("anna"))
        sweeper = Sweeper(box.ledger, box.name, trio.lowlevel.checkpoint)
        assert NEW_GROUPS > 20
        assert not await sweeper.is_due()
        assert await box.ledger.read(graph.rooms) == [room]


async def test_a_refused_redaction_that_was_applied_stays_with_its_target() -> None:
    town = Town()
    async with two_in_a_room(town) as (one, two, anna, otto, room):
        said = await two.say(room, otto, "mine")
        await town.settle()
        await one.set_membership(room, anna, otto, "ban")
        await two.writer.send(room, otto, "m.room.redaction", {"redacts": said}, redacts=said)
        await two.push()
        for number in range(3):
            await one.say(room, anna, f"{number}")
        stored = await one.ledger.read(graph.event, said)
        assert stored is not None

        def keep_the_message(_index: Index, event: StoredEvent) -> bool:
            return event.event_id != said

        while (await one.ledger.run(pruning.prune, room, 1 << 62, keep_the_message, one.name)).more:
            pass
        await sweep(one)
        await let_go(one, room)
        await sweep(one)
        assert await one.ledger.read(graph.event, said) is None
