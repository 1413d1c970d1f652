"""Who may read a room."""

from urllib.parse import quote

from tests.fakes.family import at, open_family, two


async def test_who_left_reads_the_room_as_it_was_and_who_never_came_reads_nothing() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family, name="before")
        eve = await family.app("eve")
        await bob.post(at(room, "/leave"))
        await ann.put(at(room, "/state/m.room.name"), {"name": "after"})
        secret = await ann.say(room, "bob is gone")
        assert await bob.get(at(room, "/state/m.room.name")) == {"name": "before"}
        assert await ann.get(at(room, "/state/m.room.name")) == {"name": "after"}
        page = await bob.get(at(room, "/messages?dir=b&limit=50"))
        assert secret not in [event["event_id"] for event in page["chunk"]]
        assert await bob.refused("GET", at(room, f"/event/{quote(secret)}")) == (404, "M_NOT_FOUND")
        for path in ("/state", "/members", "/messages?dir=b", "/joined_members", "/state/m.room.name"):
            assert await eve.refused("GET", at(room, path)) == (403, "M_FORBIDDEN")
        assert (await bob.refused("GET", at(room, "/joined_members")))[0] == 403
