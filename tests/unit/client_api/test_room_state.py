"""What a room is now, and was."""

from tests.fakes.family import at, open_family


async def test_members_are_listed_by_membership_and_as_of_a_token() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        room = await ann.create_room(preset="public_chat")
        before = (await ann.sync())["next_batch"]
        await bob.join(room)
        assert len((await ann.get(at(room, "/members")))["chunk"]) == 2
        assert len((await ann.get(at(room, f"/members?at={before}")))["chunk"]) == 1
        await bob.post(at(room, "/leave"))
        left = (await ann.get(at(room, "/members?membership=leave")))["chunk"]
        assert [event["state_key"] for event in left] == [bob.user]
        assert len((await ann.get(at(room, "/members?not_membership=leave")))["chunk"]) == 1
        assert list((await ann.get(at(room, "/joined_members")))["joined"]) == [ann.user]


async def test_an_empty_state_key_may_be_left_out_or_end_in_a_slash() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        await ann.put(at(room, "/state/org.example.thing/"), {"a": 1})
        assert await ann.get(at(room, "/state/org.example.thing")) == {"a": 1}
        await ann.put(at(room, "/state/org.example.thing/key"), {"a": 2})
        assert await ann.get(at(room, "/state/org.example.thing/key")) == {"a": 2}
        assert await ann.refused("GET", at(room, "/state/org.example.none")) == (404, "M_NOT_FOUND")
        event = await ann.get(at(room, "/state/org.example.thing/key?format=event"))
        assert (event["state_key"], event["content"], event["room_id"]) == ("key", {"a": 2}, room)
