"""What does not arrive in order, or not at all: gaps, forks, redactions before their targets."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.ids import EventId, RoomId
from relay.rooms.matrix import timeline
from relay.rooms.matrix.storage import graph, state
from tests.fakes.boxes import Box, Town


async def _pair(here: Box, there: Box, version: str = "12") -> RoomId:
    room = await here.create(here.user("anna"), version)
    await there.joining.join(there.user("bert"), room, [here.name])
    await here.push()
    return room


async def _raw(box: Box, event_id: EventId) -> dict[str, Any]:
    stored = await box.ledger.read(graph.event, event_id)
    assert stored is not None
    return copy.deepcopy(dict(stored.event.raw))


async def test_two_hundred_missed_messages_arrive_in_order_after_the_next_one() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there)
        said = [await here.say(room, here.user("anna"), f"m{number}") for number in range(201)]
        assert await there.receive(here.name, [await _raw(here, said[-1])]) == {said[-1]: {}}
        assert await there.bodies(room) == []
        assert await there.settle() == 0
        assert await there.bodies(room) == [f"m{number}" for number in range(201)]
        assert town.calls.count("missing_events") == 10
        assert "state_ids" not in town.calls


async def test_a_gap_too_wide_for_its_pages_is_bridged_with_the_state_and_filled_when_somebody_pages_back() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, anna = await _pair(here, there), here.user("anna")
        for number in range(420):
            await here.say(room, anna, f"m{number}")
        await here.writer.send(room, anna, "m.room.topic", {"topic": "new"}, state_key="")
        last = await here.say(room, anna, "last")
        await there.receive(here.name, [await _raw(here, last)])
        assert await there.settle() == 0
        assert "state_ids" in town.calls
        assert (await there.bodies(room))[-1] == "last"
        assert await there.state(room) == await here.state(room)
        page = await there.ledger.read(timeline.page, room, None, None, backwards=True, limit=1000)
        assert page.gap is not None
        assert page.end is not None
        filled = await there.backfiller.fill(room, page.gap.event_id, 100)
        assert filled > 10
        assert (await there.bodies(room))[:2] == ["m0", "m1"]
        assert await there.bodies(room) == [*(f"m{number}" for number in range(420)), "last"]
        # Where the pages met, no gap is left.
        page = await there.ledger.read(timeline.page, room, None, None, backwards=True, limit=1000)
        assert page.gap is None or page.gap.event_id in await there.ledger.read(_joins, room)


def _joins(index: Any, room: RoomId) -> list[EventId]:
    return [event.event_id for event in state.current_state(index, room) if event.type == "m.room.member"]


async def test_paging_back_behind_the_join_fetches_history() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"))
        for number in range(30):
            await here.say(room, here.user("anna"), f"m{number}")
        await there.joining.join(there.user("bert"), room, [here.name])
        while True:
            page = await there.ledger.read(timeline.page, room, None, None, backwards=True, limit=100)
            if page.gap is None:
                break
            assert await there.backfiller.fill(room, page.gap.event_id, 15) > 0
        assert page.gap is None
        assert page.end is None
        assert [stored.event.type for stored in page.events][-1] == "m.room.create"
        assert await there.bodies(room) == [f"m{number}" for number in range(30)]
        assert await there.state(room) == await here.state(room)


async def test_a_redaction_that_comes_before_its_target_takes_effect_when_the_target_comes() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, anna = await _pair(here, there), here.user("anna")
        secret = await here.say(room, anna, "secret")
        redaction = await here.writer.send(room, anna, "m.room.redaction", {}, redacts=secret)
        assert await here.bodies(room) == ["None"]
        raw = await _raw(here, redaction)
        await there.receive(here.name, [raw])
        await there.settle()
        shown = await there.ledger.read(timeline.event, secret)
        assert shown is not None
        assert shown.event.content == {}
        assert shown.client()["unsigned"]["redacted_because"]["event_id"] == redaction


async def test_what_was_decided_apart_is_decided_alike() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room, anna, bert = await _pair(here, there), here.user("anna"), there.user("bert")
        await here.writer.send(
            room, anna, "m.room.power_levels", {"users": {bert: 60}, "users_default": 0}, state_key=""
        )
        await town.settle()
        # Apart from each other both name the room, and anna takes bert's level away.
        await here.writer.send(room, anna, "m.room.name", {"name": "anna's"}, state_key="")
        await here.writer.send(room, anna, "m.room.power_levels", {"users": {bert: 0}}, state_key="")
        await there.writer.send(room, bert, "m.room.name", {"name": "bert's"}, state_key="")
        await there.writer.send(room, bert, "m.room.topic", {"topic": "bert's"}, state_key="")
        await town.settle()
        await here.say(room, anna, "together")
        await town.settle()
        assert await here.state(room) == await there.state(room)
        assert ("m.room.topic", "") not in await here.state(room)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "name", "levels", "kick", "join", "push", "lose"]),
        st.booleans(),
        st.integers(0, 3),
    ),
    max_size=14,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, version=st.sampled_from(["10", "12"]))
async def test_random_interleavings_end_in_one_state(steps: list[tuple[str, bool, int]], version: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await _pair(here, there, version)
        anna, bert = here.user("anna"), there.user("bert")
        levels = {"users": {bert: 100} if version == "12" else {anna: 100, bert: 100}}
        await here.writer.send(room, anna, "m.room.power_levels", levels, state_key="")
        await town.settle()
        for verb, first, number in steps:
            box, user = (here, anna) if first else (there, bert)
            await _do(town, box, verb, room=room, number=number)
            assert await box.membership(room, user) is not None
        town.asleep.clear()
        await town.settle()
        # What was lost is noticed when its sender speaks again.
        for box, user in ((here, anna), (there, bert), (here, anna), (there, bert)):
            if await box.membership(room, user) == "join":
                await box.say(room, user, "the end")
            await town.settle()
        assert await here.settle() == 0
        assert await there.settle() == 0
        if await there.membership(room, bert) == "join":
            assert await here.state(room) == await there.state(room)


async def _do(town: Town, box: Box, verb: str, *, room: RoomId, number: int) -> None:
    from relay.base.errors import ForbiddenError

    anna, bert = box.user("anna"), box.user("bert")
    user = anna if box.name == "a.example" else bert
    carl = box.user(f"c{number}")
    try:
        match verb:
            case "say":
                await box.say(room, user, f"{number}")
            case "name":
                await box.writer.send(room, user, "m.room.name", {"name": f"{box.name} {number}"}, state_key="")
            case "levels":
                held = await box.ledger.read(state.current_event, room, "m.room.power_levels")
                assert held is not None
                content = {**held.content, "events": {"m.room.name": number}}
                await box.writer.send(room, user, "m.room.power_levels", content, state_key="")
            case "join":
                await box.set_membership(room, carl, carl, "join")
            case "kick":
                await box.set_membership(room, user, carl, "leave")
            case "push":
                await box.push()
            case _:
                await box.push(only=lambda event: event.depth % 2 == 0)
    except ForbiddenError:
        return
