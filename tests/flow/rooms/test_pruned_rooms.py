"""Three boxes that lose, nap, kick, return, and let go of their past at any moment: nothing breaks, all agree."""

from unittest import mock

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.errors import RelayError
from relay.base.ids import RoomId
from relay.rooms.matrix.exchange import inbox
from relay.rooms.matrix.storage import pruning
from relay.rooms.matrix.storage.sweeping import Sweeper
from tests.fakes.boxes import Box, Town
from tests.fakes.graph_check import flaws
from tests.fakes.shared_rooms import SERVERS, act, check_agreement, end, three_in_a_room

VERBS = (
    "say",
    "say",
    "name",
    "redact",
    "kick",
    "leave",
    "rejoin",
    "push",
    "lose",
    "settle",
    "nap",
    "prune",
    "prune",
    "sweep",
)
STEPS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 2), st.integers(0, 2)),
    min_size=20,
    max_size=50,
)


# What no peer explains is given up in the end; here at once.
@mock.patch.object(inbox, "INBOX_REFUSED_LIFE_S", 0.0)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, version=st.sampled_from(["10", "12"]))
async def test_nothing_refers_to_what_went_and_all_agree(steps: list[tuple[str, int, int]], version: str) -> None:
    town = Town()
    async with three_in_a_room(town, version) as (boxes, room):
        for verb, first, second in steps:
            try:
                await _do(town, boxes[first], boxes[second], verb, room)
            except RelayError:
                continue
            assert await boxes[first].ledger.read(flaws) == []
        await end(town, boxes, room, 3)
        for box in boxes:
            assert await box.ledger.read(flaws) == []
        await check_agreement(boxes, room)


async def _do(town: Town, box: Box, other: Box, verb: str, room: RoomId) -> None:
    user, target = box.user("u"), other.user("u")
    match verb:
        case "prune":
            await _prune(box, room, ask_others=other is not box)
        case "sweep":
            await Sweeper(box.ledger, box.name, trio.lowlevel.checkpoint).sweep()
        case "kick":
            await box.set_membership(room, user, target, "leave")
        case "redact":
            newest = (await box.tips(room))[0]
            await box.writer.send(room, user, "m.room.redaction", {"redacts": newest}, redacts=newest)
        case _:
            assert await act(town, box, verb, room)


async def _prune(box: Box, room: RoomId, *, ask_others: bool) -> None:
    others = [name for name in SERVERS if name != box.name]
    arrived = min(box.cursors.get(name, 0) for name in others)
    cut = await box.ledger.read(pruning.event_at, room, 8)
    before = 1 << 62 if cut is None or cut.order is None else cut.order
    await box.ledger.run(pruning.prune, room, before, lambda _index, stored: stored.number <= arrived, box.name)
    await box.ledger.run(pruning.finish, room, box.name, ask_others=ask_others)
