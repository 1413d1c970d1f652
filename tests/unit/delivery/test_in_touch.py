from relay.base.ids import UserId
from relay.delivery.in_touch import in_touch_since
from relay.rooms.matrix.storage import members
from tests.fakes.family import at, open_family, two


async def test_being_in_touch_begins_with_the_later_join_and_ends_with_a_departure() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        first = await family.ledger.read(members.together_since, bob.user, [ann.user])
        assert first == family.ledger.position
        assert await family.ledger.read(in_touch_since, bob.user) == first
        await bob.post(at(room, "/leave"))
        assert await family.ledger.read(members.together_since, bob.user, [ann.user]) is None
        await bob.join(room)
        again = await family.ledger.read(members.together_since, bob.user, [ann.user])
        assert again is not None
        assert again > first


async def test_nobody_is_in_touch_with_a_stranger() -> None:
    async with open_family() as family:
        await two(family)
        assert await family.ledger.read(in_touch_since, UserId("@eve:far.example")) is None
