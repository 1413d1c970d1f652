"""Two boxes and a third, each with its whole federation door, talking over memory streams."""

import pytest
import trio

from tests.fakes.federated import FederatedTown


@pytest.mark.parametrize(("version", "http2"), [("10", False), ("11", True), ("12", False)])
async def test_invite_join_and_a_message_each_way(version: str, http2: bool) -> None:
    async with trio.open_nursery() as nursery:
        town = FederatedTown(nursery, http2=http2)
        async with town.box("ada.example") as ada, town.box("bob.example") as bob:
            alice, bert = await ada.add_user("alice"), await bob.add_user("bert")
            room = await ada.create(alice, version)
            await ada.inviting.invite(alice, room, bert)
            assert await bob.membership(room, bert) == "invite"
            with trio.fail_after(5):
                assert await bob.joining.join(bert, room, [ada.name], {}) == room
                await ada.say(room, alice, "hello")
                await bob.wait_for(room, "hello")
                await bob.say(room, bert, "and you")
                await ada.wait_for(room, "and you")
        nursery.cancel_scope.cancel()
