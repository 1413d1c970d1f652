"""A changed name is shown everywhere."""

from urllib.parse import quote

from tests.fakes.family import at, open_family, two


async def test_a_name_is_shown_in_every_room() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await ann.put(f"/profile/{quote(ann.user)}/displayname", {"displayname": "Ann A."})
        member = await bob.get(at(room, f"/state/m.room.member/{ann.user}"))
        assert (member["displayname"], member["membership"]) == ("Ann A.", "join")
        assert (await bob.get(at(room, "/joined_members")))["joined"][ann.user] == {"display_name": "Ann A."}
