"""Three boxes with losses, naps, kicks and returns: whatever happened, those in the room end with one state."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.errors import RelayError
from relay.base.ids import RoomId, ServerName
from relay.rooms.matrix.storage import state
from tests.fakes.boxes import Box, Town

VERBS = ("say", "name", "levels", "kick", "ban", "unban", "leave", "rejoin", "push", "lose", "settle", "nap")
STEPS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 2), st.integers(0, 2)),
    min_size=10,
    max_size=30,
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, version=st.sampled_from(["10", "12"]))
async def test_everybody_in_the_room_ends_with_the_same_state(steps: list[tuple[str, int, int]], version: str) -> None:
    town = Town()
    async with town.box("a.example") as one, town.box("b.example") as two, town.box("c.example") as three:
        boxes = (one, two, three)
        room = await one.create(one.user("u"), version)
        levels = {two.user("u"): 100, three.user("u"): 60}
        if version == "10":
            levels[one.user("u")] = 100
        await one.writer.send(room, one.user("u"), "m.room.power_levels", {"users": levels}, state_key="")
        for box in (two, three):
            await box.joining.join(box.user("u"), room, [one.name])
            await town.settle()
        for verb, first, second in steps:
            try:
                await _do(town, boxes[first], boxes[second], verb, room)
            except RelayError:
                continue
        town.asleep.clear()
        # What was lost is noticed when its sender speaks again.
        for _ in range(2):
            for box in boxes:
                if await box.membership(room, box.user("u")) == "join":
                    await box.say(room, box.user("u"), "the end")
                await town.settle()
        assert [await box.settle() for box in boxes] == [0, 0, 0]
        inside = [box for box in boxes if await box.membership(room, box.user("u")) == "join"]
        agreed = [
            box for box in inside if all([await other.membership(room, box.user("u")) == "join" for other in inside])
        ]
        states = [await box.state(room) for box in agreed]
        assert all(held == states[0] for held in states)


async def _do(town: Town, box: Box, other: Box, verb: str, room: RoomId) -> None:
    user, target = box.user("u"), other.user("u")
    match verb:
        case "say":
            await box.say(room, user, "x")
        case "name":
            name = {"name": f"{box.name} {town.clock.wall_ms()}"}
            await box.writer.send(room, user, "m.room.name", name, state_key="")
        case "levels":
            held = await box.ledger.read(state.current_event, room, "m.room.power_levels")
            assert held is not None
            content = {**held.content, "events": {"m.room.name": town.clock.wall_ms() % 50}}
            await box.writer.send(room, user, "m.room.power_levels", content, state_key="")
        case "kick" | "ban" | "unban":
            await box.set_membership(room, user, target, "ban" if verb == "ban" else "leave")
        case "leave":
            await box.leaving.leave(user, room)
        case "rejoin":
            await box.joining.join(
                user, room, [ServerName("a.example"), ServerName("b.example"), ServerName("c.example")]
            )
        case "push":
            await box.push()
        case "lose":
            await box.push(only=lambda event: event.depth % 2 == 0)
        case "settle":
            await box.settle()
        case _:
            town.asleep ^= {box.name}
