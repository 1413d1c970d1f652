"""Asking somebody in."""

from urllib.parse import quote

from tests.fakes.family import at, open_family


async def test_who_blocks_invites_is_not_invited() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        path = f"/user/{quote(bob.user)}/account_data/m.invite_permission_config"
        await bob.put(path, {"default_action": "block"})
        room = await ann.create_room()
        assert await ann.refused("POST", at(room, "/invite"), {"user_id": bob.user}) == (403, "M_INVITE_BLOCKED")


async def test_an_invite_to_nobody_in_particular_is_refused() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        assert (await ann.refused("POST", at(room, "/invite"), {"user_id": "@x:far.test"}))[0] == 502
        assert (await ann.refused("POST", at(room, "/invite"), {"user_id": "nobody"}))[0] == 400
        assert (await ann.refused("POST", at(room, "/invite"), {}))[0] == 400
