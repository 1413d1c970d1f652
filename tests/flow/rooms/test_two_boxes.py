"""Two boxes exchange rooms through each other's hosting and receiving, with no network between them."""

import pytest

from relay.base.errors import ForbiddenError, PeerRefusedError
from tests.fakes.boxes import Town


@pytest.mark.parametrize("version", ["10", "11", "12"])
async def test_an_invited_user_joins_and_messages_go_both_ways(version: str) -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        anna, bert = here.user("anna"), there.user("bert")
        room = await here.create(anna, version, rule="invite")
        await here.say(room, anna, "before")
        await here.inviting.invite(anna, room, bert)
        assert await there.membership(room, bert) == "invite"
        await there.joining.join(bert, room)
        await here.say(room, anna, "hello")
        await here.push()
        await there.say(room, bert, "hello yourself")
        await there.push()
        assert await there.bodies(room) == ["hello", "hello yourself"]
        assert await here.bodies(room) == ["before", "hello", "hello yourself"]
        assert await here.state(room) == await there.state(room)
        assert await here.tips(room) == await there.tips(room)


async def test_a_user_who_is_not_invited_is_refused_by_the_resident() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        room = await here.create(here.user("anna"), rule="invite")
        with pytest.raises(PeerRefusedError) as refusal:
            await there.joining.join(there.user("bert"), room, [here.name])
        assert refusal.value.status == 403
        with pytest.raises(ForbiddenError):
            await here.joining.join(here.user("carl"), room)
