"""Letting go of old messages: what goes, what stays, and that nothing refers to what went."""

from collections.abc import Callable

from relay.base.config import LimitsConfig
from relay.base.ids import EventId, RoomId
from relay.rooms.matrix import receipts, timeline
from relay.rooms.matrix.storage import graph, history, pruning, state
from relay.rooms.matrix.storage.stored_event import StoredEvent
from relay.store.ledger import Change, Index
from tests.fakes.boxes import Box, Town
from tests.fakes.graph_check import flaws
from tests.fakes.shared_rooms import two_in_a_room

EVERYTHING = 1 << 62


def anything(_index: Index, _stored: StoredEvent) -> bool:
    return True


async def prune(
    box: Box,
    room: RoomId,
    before: int = EVERYTHING,
    may_go: Callable[[Index, StoredEvent], bool] = anything,
    *,
    ask_others: bool = False,
) -> int:
    count = 0
    while True:
        gone = await box.ledger.run(pruning.prune, room, before, may_go, box.name)
        count += gone.events
        assert await box.ledger.read(flaws) == []
        if not gone.more:
            break
    await box.ledger.run(pruning.finish, room, box.name, ask_others=ask_others)
    assert await box.ledger.read(flaws) == []
    return count


async def order_of(box: Box, event_id: EventId) -> int:
    stored = await box.ledger.read(graph.event, event_id)
    assert stored is not None
    assert stored.order is not None
    return stored.order


async def has(box: Box, event_id: EventId) -> bool:
    return await box.ledger.read(graph.event, event_id) is not None


async def test_messages_go_and_state_stays_out_of_the_timeline() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        before = await box.state(room)
        said = [await box.say(room, anna, f"{number}") for number in range(60)]

        count = await prune(box, room, await order_of(box, said[50]))

        assert count == len(before) + 50
        assert await box.bodies(room) == [f"{number}" for number in range(50, 60)]
        assert await box.state(room) == before
        assert not await has(box, said[0])
        assert all([await has(box, event_id) for event_id in before.values()])
        assert (await box.ledger.read(history.let_go)).events == count


async def test_the_newest_event_always_stays_and_the_room_goes_on() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        last = [await box.say(room, anna, f"{number}") for number in range(5)][-1]

        await prune(box, room)

        assert await box.bodies(room) == ["4"]
        assert await box.tips(room) == [last]
        await box.say(room, anna, "after")
        await box.set_membership(room, anna, box.user("otto"), "invite")
        assert await box.bodies(room) == ["4", "after"]
        assert await box.ledger.read(flaws) == []


async def test_it_stops_at_the_first_event_that_may_not_go() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        said = [await box.say(room, anna, f"{number}") for number in range(10)]

        await prune(box, room, may_go=lambda _, stored: stored.event_id != said[6])

        assert await box.bodies(room) == ["6", "7", "8", "9"]


async def test_a_redaction_stays_with_what_it_redacts_and_goes_with_it() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        topic = await box.writer.send(room, anna, "m.room.topic", {"topic": "secret"}, state_key="")
        message = await box.say(room, anna, "secret too")
        of_topic = await box.writer.send(room, anna, "m.room.redaction", {"redacts": topic}, redacts=topic)
        of_message = await box.writer.send(room, anna, "m.room.redaction", {"redacts": message}, redacts=message)
        for number in range(3):
            await box.say(room, anna, f"{number}")

        await prune(box, room)

        assert not await has(box, message)
        assert not await has(box, of_message)
        kept = await box.ledger.read(state.current_event, room, "m.room.topic")
        assert kept is not None
        assert kept.content == {}
        assert await has(box, of_topic)


async def test_a_redaction_that_was_redacted_itself_stays_too() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna, "10")
        topic = await box.writer.send(room, anna, "m.room.topic", {"topic": "secret"}, state_key="")
        first = await box.writer.send(room, anna, "m.room.redaction", {}, redacts=topic)
        second = await box.writer.send(room, anna, "m.room.redaction", {}, redacts=first)
        await box.say(room, anna, "on")

        await prune(box, room)

        assert await has(box, first)
        assert await has(box, second)


async def test_a_message_that_comes_back_is_redacted_by_what_stayed() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        message = await box.say(room, anna, "secret")
        await box.say(room, anna, "other")
        redaction = await box.writer.send(room, anna, "m.room.redaction", {"redacts": message}, redacts=message)

        await prune(box, room, await order_of(box, redaction))

        waiting = await box.ledger.read(lambda index: index.rows("SELECT event FROM waiting_redactions"))
        assert len(waiting) == 1
        await box.say(room, anna, "later")
        await prune(box, room)
        assert await box.ledger.read(lambda index: index.rows("SELECT event FROM waiting_redactions")) == []


async def test_the_end_of_the_past_is_the_end_of_paging_and_a_sync_from_before_it_is_limited() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        early = box.ledger.position
        said = [await box.say(room, anna, f"{number}") for number in range(30)]
        late = box.ledger.position
        await box.say(room, anna, "news")

        await prune(box, room, await order_of(box, said[20]))

        page = await box.ledger.read(timeline.page, room, None, None, backwards=True, limit=100)
        assert len(page.events) == 11
        assert page.end is None
        assert page.gap is None
        up_to = box.ledger.position
        assert (await box.ledger.read(timeline.since, room, early, up_to, 100)).limited
        assert not (await box.ledger.read(timeline.since, room, late, up_to, 100)).limited
        event, before, after = await box.ledger.read(timeline.around, said[3], 10)
        assert (event, before.events, after.events) == (None, [], [])
        assert await box.ledger.read(timeline.event, said[3]) is None


async def test_whoever_had_read_what_went_has_read_nothing_less() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        said = [await box.say(room, anna, f"{number}") for number in range(20)]
        await box.ledger.run(receipts.set_receipt, room, anna, "m.read", said[5], None, 1)

        await prune(box, room, await order_of(box, said[10]))

        orders = await box.ledger.read(receipts.own_orders, room, anna)
        assert await order_of(box, said[10]) > orders[""] > 0


async def test_what_waits_for_ancestors_holds_the_whole_room() -> None:
    async with Town().box("box.test") as box:
        anna = box.user("anna")
        room = await box.create(anna)
        for number in range(5):
            await box.say(room, anna, f"{number}")

        def wait(change: Change) -> None:
            from relay.rooms.matrix.storage import inbox_book

            held = graph.row(change, room)
            assert held is not None
            tip = graph.by_number(change, held.tips[0]).event
            inbox_book.add(change, held.number, box.name, tip, 1, LimitsConfig())

        await box.ledger.run(wait)
        assert await prune(box, room) == 0


async def test_others_join_and_ask_for_state_after_the_past_went() -> None:
    town = Town()
    async with town.box("one.test") as one, town.box("two.test") as two:
        anna, otto = one.user("anna"), two.user("otto")
        room = await one.create(anna)
        said = [await one.say(room, anna, f"{number}") for number in range(30)]
        await prune(one, room, await order_of(one, said[25]))

        await two.joining.join(otto, room, [one.name], {})
        await town.settle()
        await two.say(room, otto, "hello")
        await town.settle()

        assert (await one.bodies(room))[-1] == "hello"
        assert await one.state(room) == await two.state(room)
        assert await two.backfiller.fill(room, (await two.tips(room))[0], 10) == 0
        pdus = await one.answering.backfill(two.name, room, [said[29]], 50)
        assert len(pdus) == 5
        assert await one.answering.backfill(two.name, room, [said[3]], 50) == []
        for box in (one, two):
            assert await box.ledger.read(flaws) == []


async def test_paging_back_asks_others_for_what_space_did_not_hold() -> None:
    town = Town()
    async with two_in_a_room(town) as (one, two, anna, _, room):
        said = [await one.say(room, anna, f"{number}") for number in range(40)]
        await town.settle()
        assert len(await two.bodies(room)) == 40
        await prune(two, room, await order_of(two, said[30]), ask_others=True)
        assert len(await two.bodies(room)) == 10

        page = await two.ledger.read(timeline.page, room, None, None, backwards=True, limit=100)
        assert page.gap is not None
        assert await two.backfiller.fill(room, page.gap.event_id, 100) > 0

        assert (await two.bodies(room))[-40:] == [f"{number}" for number in range(40)]
        assert await two.ledger.read(flaws) == []


async def test_a_server_that_was_away_forks_from_what_went_and_its_message_arrives() -> None:
    town = Town()
    async with two_in_a_room(town) as (one, two, anna, otto, room):
        town.asleep.add(two.name)
        said = [await one.say(room, anna, f"{number}") for number in range(30)]
        one.cursors[two.name] = 1 << 40
        await prune(one, room, await order_of(one, said[25]), ask_others=True)

        town.asleep.clear()
        await two.say(room, otto, "from long ago")
        await two.push()
        for _ in range(3):
            await one.settle()

        assert "from long ago" in await one.bodies(room)
        assert await one.ledger.read(flaws) == []
