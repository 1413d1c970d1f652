"""Coming, going and being put out."""

from tests.fakes.family import at, open_family, two


async def test_kick_ban_unban_leave_and_forget() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        assert await bob.refused("POST", at(room, "/kick"), {"user_id": ann.user}) == (403, "M_FORBIDDEN")
        await ann.post(at(room, "/kick"), {"user_id": bob.user, "reason": "noise"})
        await bob.join(room)
        await ann.post(at(room, "/ban"), {"user_id": bob.user})
        assert (await bob.refused("POST", at(room, "/join")))[0] == 403
        await ann.post(at(room, "/unban"), {"user_id": bob.user})
        assert (await ann.refused("POST", at(room, "/unban"), {"user_id": bob.user}))[0] == 403
        await bob.join(room)
        assert await bob.refused("POST", at(room, "/forget")) == (400, "M_UNKNOWN")
        await bob.post(at(room, "/leave"))
        await bob.post(at(room, "/leave"))
        await bob.post(at(room, "/forget"))
        assert (await bob.get("/joined_rooms"))["joined_rooms"] == []
        assert (await ann.get("/joined_rooms"))["joined_rooms"] == [room]
