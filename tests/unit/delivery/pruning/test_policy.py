"""What goes, by the owner's settings and the room's wishes."""

from typing import Any

import pytest

from relay.base.config import RetentionConfig
from relay.base.ids import RoomId
from relay.delivery.pruning import policy
from relay.delivery.pruning.delivered import Delivered
from relay.delivery.pruning.marks import DAY_MS
from tests.fakes.family import App, Family, at, open_family

EVERYBODY_HAS_ALL = Delivered(0, 1 << 62, {}, {})
NOW_MS = 1_800_000_000_000


async def room_with(ann: App, content: dict[str, Any] | None) -> RoomId:
    room = RoomId(await ann.create_room())
    if content is not None:
        await ann.put(at(room, "/state/m.room.retention"), content)
    return room


@pytest.mark.parametrize(
    ("settings", "content", "days"),
    [
        ({}, None, None),
        ({"days": 90}, None, 90),
        ({"days": 90}, {}, 90),
        ({}, {"max_lifetime": 30 * DAY_MS}, 30),
        ({"days": 90}, {"max_lifetime": 365 * DAY_MS}, 365),
        ({"most_days": 100}, {"max_lifetime": 365 * DAY_MS}, 100),
        ({}, {"max_lifetime": 1000}, 7),
        ({"least_days": 0}, {"max_lifetime": DAY_MS}, 1),
        ({"rooms_decide": False}, {"max_lifetime": 30 * DAY_MS}, None),
    ],
)
async def test_a_room_decides_within_the_owners_bounds(
    settings: dict[str, Any], content: dict[str, Any] | None, days: int | None
) -> None:
    async with open_family() as family:
        room = await room_with(await family.app("ann"), content)
        found = await family.ledger.read(policy.most_age_ms, RetentionConfig(**settings), room)
        assert found == (None if days is None else days * DAY_MS)


async def test_the_least_age_is_the_larger_of_both_wishes() -> None:
    async with open_family() as family:
        room = await room_with(await family.app("ann"), {"min_lifetime": 20 * DAY_MS})
        read = family.ledger.read
        assert await read(policy.least_age_ms, RetentionConfig(), room) == 20 * DAY_MS
        assert await read(policy.least_age_ms, RetentionConfig(least_days=30), room) == 30 * DAY_MS
        assert await read(policy.least_age_ms, RetentionConfig(most_days=10), room) == 10 * DAY_MS


async def judged(family: Family, room: RoomId, cut: policy.Cut | None) -> bool:
    assert cut is not None
    from relay.rooms.matrix.storage import pruning

    stored = await family.ledger.read(pruning.event_at, room, 0)
    assert stored is not None
    return await family.ledger.read(cut.may_go, stored) and (stored.order or 0) < cut.before


async def test_only_what_is_old_goes_by_age_number_or_space() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await room_with(ann, None)
        for number in range(5):
            await ann.say(room, f"{number}")
        config = RetentionConfig(days=10, events_per_room=3, least_days=2)
        read = family.ledger.read
        for days, by_age, by_number in ((0, False, False), (3, False, True), (11, True, True)):
            now_ms = NOW_MS + days * DAY_MS + 1_000
            cut = await read(policy.by_age, config, room, EVERYBODY_HAS_ALL, now_ms)
            assert await judged(family, room, cut) is by_age
            cut = await read(policy.by_number, config, room, EVERYBODY_HAS_ALL, now_ms)
            assert await judged(family, room, cut) is by_number
            cut = await read(policy.by_space, config, room, EVERYBODY_HAS_ALL, up_to=1 << 62, now_ms=now_ms)
            assert await judged(family, room, cut) is by_number


async def test_a_policy_that_is_not_set_cuts_nothing() -> None:
    async with open_family() as family:
        room = await room_with(await family.app("ann"), None)
        assert await family.ledger.read(policy.by_age, RetentionConfig(), room, EVERYBODY_HAS_ALL, NOW_MS) is None
        assert await family.ledger.read(policy.by_number, RetentionConfig(), room, EVERYBODY_HAS_ALL, NOW_MS) is None
