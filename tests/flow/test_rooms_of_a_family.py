"""Rooms as apps make, change, leave and read them."""

from urllib.parse import quote

import pytest

from tests.fakes.family import App, Family, open_family


def at(room: str, rest: str = "") -> str:
    return f"/rooms/{quote(room, safe='')}{rest}"


async def two(family: Family, **body: object) -> tuple[App, App, str]:
    ann, bob = await family.app("ann"), await family.app("bob")
    room = await ann.create_room(**{"preset": "public_chat", **body})
    await bob.join(room)
    return ann, bob, room


@pytest.mark.parametrize("version", ["10", "11", "12"])
@pytest.mark.parametrize("preset", ["private_chat", "trusted_private_chat", "public_chat"])
async def test_every_preset_makes_a_room_in_every_version(version: str, preset: str) -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        body = {"preset": preset, "room_version": version, "name": "N", "topic": "T", "room_alias_name": "a"}
        room = await ann.create_room(**body, invite=[bob.user], is_direct=True)
        await bob.join(room)
        assert await bob.get(at(room, "/state/m.room.name")) == {"name": "N"}
        assert (await bob.get(at(room, "/state/m.room.topic/")))["topic"] == "T"
        assert await ann.get(at(room, "/aliases")) == {"aliases": ["#a:box.test"]}
        found = await bob.get(f"/directory/room/{quote('#a:box.test')}")
        assert (found["room_id"], found["servers"]) == (room, ["box.test"])
        member = await ann.get(at(room, f"/state/m.room.member/{bob.user}?format=event"))
        assert member["content"]["membership"] == "join"
        status, _ = await ann.refused("POST", "/createRoom", body)
        assert status == 400


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


async def test_a_redaction_takes_the_content_away_for_everybody() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await bob.say(room, "oops")
        redaction = (await bob.put(at(room, f"/redact/{quote(said)}/t1"), {"reason": "typo"}))["event_id"]
        assert (await bob.put(at(room, f"/redact/{quote(said)}/t1"), {"reason": "typo"}))["event_id"] == redaction
        event = await ann.get(at(room, f"/event/{quote(said)}"))
        assert event["content"] == {}
        assert event["unsigned"]["redacted_because"]["event_id"] == redaction
        other = await ann.say(room, "ann's")
        assert await bob.refused("PUT", at(room, f"/redact/{quote(other)}/t2"), {}) == (403, "M_FORBIDDEN")
        again = await ann.put(at(room, "/send/m.room.redaction/t3"), {"redacts": other})
        assert (await ann.get(at(room, f"/event/{quote(other)}")))["unsigned"]["redacted_because"]["event_id"] == again[
            "event_id"
        ]


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


async def test_aliases_belong_to_who_made_them_and_to_who_may_name_the_room() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        path = f"/directory/room/{quote('#kitchen:box.test')}"
        await bob.put(path, {"room_id": room})
        assert (await ann.refused("PUT", path, {"room_id": room}))[0] == 409
        assert (await ann.refused("PUT", at(room, "/state/m.room.canonical_alias"), {"alias": "#no:box.test"})) == (
            400,
            "M_BAD_ALIAS",
        )
        await ann.put(at(room, "/state/m.room.canonical_alias"), {"alias": "#kitchen:box.test"})
        eve = await family.app("eve")
        assert (await eve.refused("DELETE", path))[0] == 403
        assert (await ann.ask("DELETE", path)).status == 200
        assert await ann.refused("GET", path) == (404, "M_NOT_FOUND")
        assert (await ann.refused("PUT", f"/directory/room/{quote('#x:far.test')}", {"room_id": room}))[0] == 400


async def test_a_listed_room_is_found_in_the_directory() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room(visibility="public", name="Garden", topic="roses")
        await ann.create_room(name="Cellar")
        listed = (await ann.get("/publicRooms"))["chunk"]
        assert [(entry["room_id"], entry["name"], entry["num_joined_members"]) for entry in listed] == [
            (room, "Garden", 1)
        ]
        assert (await ann.post("/publicRooms", {"filter": {"generic_search_term": "ROSE"}}))["chunk"] == listed
        assert (await ann.post("/publicRooms", {"filter": {"generic_search_term": "tulip"}}))["chunk"] == []
        await ann.put(f"/directory/list/room/{quote(room)}", {"visibility": "private"})
        assert (await ann.get("/publicRooms"))["chunk"] == []


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


async def test_what_is_not_offered_has_the_smallest_answer() -> None:
    async with open_family() as family:
        ann, bob, _ = await two(family)
        assert await ann.get("/voip/turnServer") == {}
        assert await ann.get("/thirdparty/protocols") == {}
        assert await ann.get("/pushers") == {"pushers": []}
        found = await ann.post("/user_directory/search", {"search_term": "BOB"})
        assert ([entry["user_id"] for entry in found["results"]], found["limited"]) == ([bob.user], False)
        assert await ann.refused("GET", f"/presence/{quote(bob.user)}/status") == (403, "M_FORBIDDEN")
        assert await ann.refused("GET", "/_matrix/client/v1/auth_metadata") == (404, "M_NOT_FOUND")
        assert await ann.refused("POST", "/knock/x", {}) == (404, "M_UNRECOGNIZED")


async def test_a_burst_of_messages_is_slowed_down_and_none_is_lost() -> None:
    async with open_family(rate={"message_burst": 3, "message_per_s": 1.0}) as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        await ann.say(room, "1")
        await ann.say(room, "2")
        content = {"msgtype": "m.text", "body": "3"}
        response = await ann.ask("PUT", at(room, "/send/m.room.message/t3"), content)
        assert (response.status, response.parsed()["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert response.parsed()["retry_after_ms"] > 0


async def test_a_name_is_shown_in_every_room() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await ann.put(f"/profile/{quote(ann.user)}/displayname", {"displayname": "Ann A."})
        member = await bob.get(at(room, f"/state/m.room.member/{ann.user}"))
        assert (member["displayname"], member["membership"]) == ("Ann A.", "join")
        assert (await bob.get(at(room, "/joined_members")))["joined"][ann.user] == {"display_name": "Ann A."}
