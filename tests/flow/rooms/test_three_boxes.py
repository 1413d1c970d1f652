"""Three boxes with losses, naps, kicks and returns: whatever happened, those in the room end with one state."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.errors import RelayError
from relay.base.ids import RoomId
from relay.rooms.matrix.storage import state
from tests.fakes.boxes import Box, Town
from tests.fakes.shared_rooms import act, check_agreement, end, three_in_a_room

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
    async with three_in_a_room(town, version) as (boxes, room):
        for verb, first, second in steps:
            try:
                await _do(town, boxes[first], boxes[second], verb, room)
            except RelayError:
                continue
        await end(town, boxes, room, 2)
        await check_agreement(boxes, room)


async def _do(town: Town, box: Box, other: Box, verb: str, room: RoomId) -> None:
    if await act(town, box, verb, room):
        return
    user, target = box.user("u"), other.user("u")
    if verb == "levels":
        held = await box.ledger.read(state.current_event, room, "m.room.power_levels")
        assert held is not None
        content = {**held.content, "events": {"m.room.name": town.clock.wall_ms() % 50}}
        await box.writer.send(room, user, "m.room.power_levels", content, state_key="")
    else:
        await box.set_membership(room, user, target, "ban" if verb == "ban" else "leave")
