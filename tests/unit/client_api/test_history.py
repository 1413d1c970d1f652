"""Reading back."""

from urllib.parse import quote

from tests.fakes.family import at, open_family, two


async def test_history_is_paged_both_ways_with_the_members_needed() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        ids = [await ann.say(room, str(number)) for number in range(7)]
        seen, token = [], ""
        while True:
            filtered = quote('{"types": ["m.room.message"], "lazy_load_members": true}')
            page = await bob.get(at(room, f"/messages?dir=b&limit=3&filter={filtered}&from={token}"))
            seen += [event["event_id"] for event in page["chunk"]]
            if page["chunk"]:
                assert [event["state_key"] for event in page["state"]] == [ann.user]
            if "end" not in page:
                break
            token = page["end"]
        assert seen == ids[::-1]
        forwards = await bob.get(at(room, "/messages?dir=f&limit=100"))
        assert [event["event_id"] for event in forwards["chunk"] if event["type"] == "m.room.message"] == ids
        assert forwards["chunk"][0]["type"] == "m.room.create"
        assert await bob.refused("GET", at(room, "/messages?dir=x")) == (400, "M_BAD_JSON")
        assert await bob.refused("GET", at(room, "/messages")) == (400, "M_MISSING_PARAM")


async def test_context_shows_what_stood_around_an_event() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        ids = [await ann.say(room, str(number)) for number in range(9)]
        found = await bob.get(at(room, f"/context/{quote(ids[4])}?limit=4"))
        assert found["event"]["event_id"] == ids[4]
        assert [event["event_id"] for event in found["events_before"]] == [ids[3], ids[2]]
        assert [event["event_id"] for event in found["events_after"]] == [ids[5], ids[6]]
        assert "m.room.create" in {event["type"] for event in found["state"]}
        older = await bob.get(at(room, f"/messages?dir=b&limit=1&from={found['start']}"))
        newer = await bob.get(at(room, f"/messages?dir=f&limit=1&from={found['end']}"))
        assert (older["chunk"][0]["event_id"], newer["chunk"][0]["event_id"]) == (ids[1], ids[7])
