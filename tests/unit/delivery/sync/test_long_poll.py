"""What one sync tells, section by section."""

import json
from typing import Any
from urllib.parse import quote

import trio

from relay.base.limits import MAX_SYNC_TIMEOUT_S, ROOMS_PER_SYNC_STEP
from tests.fakes.family import at, open_family, two
from tests.fakes.files import MemoryFiles


def states(section: dict[str, Any], key: str = "state") -> dict[tuple[str, str], Any]:
    return {(event["type"], event["state_key"]): event["content"] for event in section[key]["events"]}


def bodies(section: dict[str, Any]) -> list[str]:
    return [event["content"].get("body") for event in section["timeline"]["events"]]


FILTER = {"room": {"timeline": {"limit": 2}, "state": {"lazy_load_members": True}}}


async def test_an_initial_sync_is_the_newest_events_and_the_state_before_them() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family, name="old")
        await ann.say(room, "1")
        await ann.put(at(room, "/state/m.room.name"), {"name": "new"})
        section = (await bob.sync(filter=json.dumps({"room": {"timeline": {"limit": 2}}})))["rooms"]["join"][room]
        assert states(section)["m.room.name", ""] == {"name": "old"}
        assert section["timeline"]["limited"]
        assert section["timeline"]["events"][-1]["unsigned"]["prev_content"] == {"name": "old"}
        assert section["summary"] == {
            "m.heroes": [ann.user],
            "m.joined_member_count": 2,
            "m.invited_member_count": 0,
        }


async def test_state_as_of_the_end_replaces_the_one_before_where_it_is_asked_for() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family, name="old")
        since = (await bob.sync())["next_batch"]
        await ann.put(at(room, "/state/m.room.name"), {"name": "new"})
        section = (await bob.sync(since, use_state_after="true"))["rooms"]["join"][room]
        assert "state" not in section
        assert states(section, "state_after") == {("m.room.name", ""): {"name": "new"}}
        whole = (await bob.sync(use_state_after="true"))["rooms"]["join"][room]
        assert states(whole, "state_after")["m.room.name", ""] == {"name": "new"}


async def test_state_that_changed_in_a_gap_is_told() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        since = (await bob.sync())["next_batch"]
        await ann.put(at(room, "/state/m.room.topic"), {"topic": "t"})
        await ann.put(at(room, "/state/m.room.name"), {"name": "first"})
        for number in range(3):
            await ann.say(room, str(number))
        await ann.put(at(room, "/state/m.room.name"), {"name": "second"})
        wanted = json.dumps({"room": {"timeline": {"limit": 2}}})
        section = (await bob.sync(since, filter=wanted))["rooms"]["join"][room]
        assert section["timeline"]["limited"]
        assert states(section) == {("m.room.topic", ""): {"topic": "t"}, ("m.room.name", ""): {"name": "first"}}


async def test_lazy_members_are_those_of_the_senders_and_oneself() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family, name="named")
        eve = await family.app("eve")
        await eve.join(room)
        await ann.say(room, "1")
        await ann.say(room, "2")
        first = await bob.sync(filter=json.dumps(FILTER))
        members = {key for kind, key in states(first["rooms"]["join"][room]) if kind == "m.room.member"}
        assert {ann.user, bob.user} <= members
        await eve.say(room, "3")
        news = (await bob.sync(first["next_batch"], filter=json.dumps(FILTER)))["rooms"]["join"][room]
        assert [key for _, key in states(news)] == [eve.user]


async def test_full_state_is_told_again_at_once() -> None:
    async with open_family() as family:
        _, bob, room = await two(family, name="N")
        since = (await bob.sync())["next_batch"]
        section = (await bob.sync(since, timeout=30_000, full_state="true"))["rooms"]["join"][room]
        assert states(section)["m.room.name", ""] == {"name": "N"}
        assert section["timeline"]["events"] == []


async def test_a_room_that_was_left_is_told_once_with_the_leave() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        since = (await bob.sync())["next_batch"]
        await ann.say(room, "before")
        await ann.post(at(room, "/kick"), {"user_id": bob.user})
        await ann.say(room, "after")
        news = await bob.sync(since)
        section = news["rooms"]["leave"][room]
        assert bodies(section)[0] == "before"
        assert section["timeline"]["events"][-1]["content"]["membership"] == "leave"
        assert "join" not in news["rooms"]
        assert (await bob.sync(news["next_batch"]))["rooms"] == {}
        assert "leave" not in (await bob.sync())["rooms"]
        again = (await bob.sync(filter='{"room": {"include_leave": true}}'))["rooms"]["leave"][room]
        assert bodies(again)[-2] == "before"
        await bob.join(room)
        back = (await bob.sync(news["next_batch"]))["rooms"]["join"][room]
        kinds = [event["type"] for event in back["timeline"]["events"]]
        assert (kinds[0], back["timeline"]["limited"], back["state"]["events"]) == ("m.room.create", False, [])


async def test_an_invite_shows_stripped_state_and_goes_when_it_is_declined() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        room = await ann.create_room(name="Secret", topic="T", invite=[bob.user])
        await ann.say(room, "not for you yet")
        first = await bob.sync()
        stripped = states(first["rooms"]["invite"][room], "invite_state")
        assert stripped["m.room.name", ""] == {"name": "Secret"}
        assert stripped["m.room.member", bob.user]["membership"] == "invite"
        assert ("m.room.power_levels", "") not in stripped
        await bob.post(at(room, "/leave"))
        section = (await bob.sync(first["next_batch"]))["rooms"]["leave"][room]
        assert (section["timeline"]["events"], section["state"]["events"]) == ([], [])


async def test_invites_of_ignored_people_are_not_shown_and_their_messages_neither() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        since = (await bob.sync())["next_batch"]
        ignored: dict[str, Any] = {"ignored_users": {ann.user: {}}}
        await bob.put(f"/user/{quote(bob.user)}/account_data/m.ignored_user_list", ignored)
        await ann.create_room(invite=[bob.user])
        await ann.say(room, "hello?")
        await ann.put(at(room, "/state/m.room.name"), {"name": "still told"})
        news = await bob.sync(since)
        assert "invite" not in news["rooms"]
        assert [event["type"] for event in news["rooms"]["join"][room]["timeline"]["events"]] == ["m.room.name"]


async def test_who_takes_no_invites_is_shown_none() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        await ann.create_room(invite=[bob.user])
        path = f"/user/{quote(bob.user)}/account_data/m.invite_permission_config"
        await bob.put(path, {"default_action": "block"})
        assert "invite" not in (await bob.sync())["rooms"]


async def test_the_sender_finds_the_transaction_id_and_nobody_else_does() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        tablet = await family.app("ann", "TABLET")
        tokens = {app: (await app.sync())["next_batch"] for app in (ann, bob, tablet)}
        await ann.say(room, "mine", "txn-7")
        for app, token in tokens.items():
            (event,) = (await app.sync(token))["rooms"]["join"][room]["timeline"]["events"]
            assert event["unsigned"].get("transaction_id") == ("txn-7" if app is ann else None)
            assert "room_id" not in event


async def test_filters_choose_types_senders_and_rooms() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        since = (await bob.sync())["next_batch"]
        for number in range(30):
            await ann.say(room, str(number))
            await ann.put(at(room, f"/send/org.example.noise/n{number}"), {})
        wanted = {"room": {"timeline": {"limit": 5, "types": ["m.room.message"]}}}
        section = (await bob.sync(since, filter=json.dumps(wanted)))["rooms"]["join"][room]
        assert (bodies(section), section["timeline"]["limited"]) == (["25", "26", "27", "28", "29"], True)
        page = await bob.get(at(room, f"/messages?dir=b&limit=2&from={section['timeline']['prev_batch']}"))
        assert [event["content"].get("body") for event in page["chunk"]] == [None, "24"]
        assert (await bob.sync(since, filter=json.dumps({"room": {"not_rooms": [room]}})))["rooms"] == {}
        stored = await bob.post(f"/user/{quote(bob.user)}/filter", wanted)
        same = (await bob.sync(since, filter=stored["filter_id"]))["rooms"]["join"][room]
        assert bodies(same) == bodies(section)


async def test_a_timeline_of_no_events_can_be_paged_completely() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        since = (await bob.sync())["next_batch"]
        said = [await ann.say(room, str(number)) for number in range(3)]
        none = json.dumps({"room": {"timeline": {"limit": 0}}})
        section = (await bob.sync(since, filter=none))["rooms"]["join"][room]
        assert (section["timeline"]["events"], section["timeline"]["limited"]) == ([], True)
        page = await bob.get(at(room, f"/messages?dir=b&limit=3&from={section['timeline']['prev_batch']}"))
        assert [event["event_id"] for event in page["chunk"]] == said[::-1]


async def test_more_rooms_than_one_step_looks_at_are_all_there() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        rooms = {await ann.create_room() for _ in range(2 * ROOMS_PER_SYNC_STEP + 1)}
        first = await ann.sync()
        assert set(first["rooms"]["join"]) == rooms
        for room in rooms:
            await ann.say(room, "x")
        assert set((await ann.sync(first["next_batch"]))["rooms"]["join"]) == rooms


async def test_nobody_waits_longer_than_the_limit(autojump_clock: trio.testing.MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        since = (await ann.sync())["next_batch"]
        started = trio.current_time()
        await ann.sync(since, timeout=10**9)
        assert trio.current_time() - started == MAX_SYNC_TIMEOUT_S


async def test_messages_between_devices_come_until_they_are_acknowledged() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        since = (await bob.sync())["next_batch"]
        content = {"messages": {bob.user: {"PHONE": {"n": 1}}}}
        await ann.put("/sendToDevice/m.test/t1", content)
        await ann.put("/sendToDevice/m.test/t1", content)
        event = {"sender": ann.user, "type": "m.test", "content": {"n": 1}}
        first = await bob.sync(since)
        assert first["to_device"]["events"] == [event]
        assert (await bob.sync(since))["to_device"]["events"] == [event]
        assert "to_device" not in await bob.sync(first["next_batch"])
        assert "to_device" not in await bob.sync(since)


async def test_many_messages_between_devices_come_in_portions_and_all_of_them() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        for number in range(230):
            await ann.put(f"/sendToDevice/m.test/t{number}", {"messages": {bob.user: {"*": {"n": number}}}})
        seen: list[int] = []
        token = None
        for _ in range(4):
            answer = await bob.sync(token)
            token = answer["next_batch"]
            seen += [event["content"]["n"] for event in answer.get("to_device", {}).get("events", [])]
        assert seen == list(range(230))


async def test_device_lists_name_who_changed_who_came_and_who_went() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        since = (await bob.sync())["next_batch"]
        room = await ann.create_room(preset="public_chat")
        await bob.join(room)
        first = await bob.sync(since)
        assert ann.user in first["device_lists"]["changed"]
        keys = {"user_id": ann.user, "device_id": "PHONE", "algorithms": [], "keys": {}, "signatures": {}}
        assert (await ann.ask("POST", "/keys/upload", {"device_keys": keys})).status == 200
        second = await bob.sync(first["next_batch"])
        assert second["device_lists"] == {"changed": [ann.user], "left": []}
        await ann.post(at(room, "/leave"))
        third = await bob.sync(second["next_batch"])
        assert third["device_lists"] == {"changed": [], "left": [ann.user]}
        path = f"/keys/changes?from={first['next_batch']}&to={second['next_batch']}"
        assert (await ann.get(path))["changed"] == [ann.user]
        assert third["device_one_time_keys_count"] == {"signed_curve25519": 0}


async def test_account_data_and_tags_reach_the_other_device() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        tablet = await family.app("ann", "TABLET")
        room = await ann.create_room()
        since = (await tablet.sync())["next_batch"]
        await ann.put(f"/user/{quote(ann.user)}/account_data/org.example.x", {"a": 1})
        await ann.put(f"/user/{quote(ann.user)}/rooms/{quote(room)}/tags/m.favourite", {"order": 0.5})
        news = await tablet.sync(since)
        assert news["account_data"]["events"] == [{"type": "org.example.x", "content": {"a": 1}}]
        (tag,) = news["rooms"]["join"][room]["account_data"]["events"]
        assert tag == {"type": "m.tag", "content": {"tags": {"m.favourite": {"order": 0.5}}}}


async def test_tags_older_than_a_room_are_told_with_it() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await ann.post(at(room, "/kick"), {"user_id": bob.user})
        await bob.put(f"/user/{quote(bob.user)}/rooms/{quote(room)}/tags/m.favourite", {})
        since = (await bob.sync())["next_batch"]
        await bob.join(room)
        (tag,) = (await bob.sync(since))["rooms"]["join"][room]["account_data"]["events"]
        assert tag == {"type": "m.tag", "content": {"tags": {"m.favourite": {}}}}


async def test_typing_begins_and_ceases(autojump_clock: trio.testing.MockClock) -> None:
    async with open_family() as family, trio.open_nursery() as nursery:
        await nursery.start(family.parts.typing.run)
        ann, bob, room = await two(family)
        since = (await bob.sync())["next_batch"]
        await ann.put(at(room, f"/typing/{quote(ann.user)}"), {"typing": True, "timeout": 5000})
        begun = await bob.sync(since, timeout=60_000)
        typing = {"type": "m.typing", "content": {"user_ids": [ann.user]}}
        assert begun["rooms"]["join"][room]["ephemeral"]["events"] == [typing]
        ceased = await bob.sync(begun["next_batch"], timeout=60_000)
        (event,) = ceased["rooms"]["join"][room]["ephemeral"]["events"]
        assert event["content"] == {"user_ids": []}
        assert trio.current_time() < 30
        assert await ann.refused("PUT", at(room, f"/typing/{quote(bob.user)}"), {}) == (403, "M_FORBIDDEN")
        nursery.cancel_scope.cancel()


async def test_an_empty_sync_ends_with_its_time_out(autojump_clock: trio.testing.MockClock) -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        since = (await ann.sync())["next_batch"]
        started = trio.current_time()
        answer = await ann.sync(since, timeout=10_000)
        assert trio.current_time() - started == 10
        assert answer["rooms"] == {}


async def test_a_token_that_was_never_given_out_is_refused() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        assert (await ann.refused("GET", "/sync?since=nonsense"))[0] == 400
        assert (await ann.refused("GET", "/sync?timeout=x"))[0] == 400
        assert (await ann.refused("GET", "/sync?filter=17"))[0] == 404


async def test_a_token_outlives_a_restart_and_typing_does_not() -> None:
    files = MemoryFiles()
    try:
        async with open_family(files) as family:
            ann, bob, room = await two(family)
            await ann.put(at(room, f"/typing/{quote(ann.user)}"), {"typing": True})
            since = (await bob.sync())["next_batch"]
        async with open_family(files) as family:
            ann, bob = await family.app("ann"), await family.app("bob")
            assert (await bob.sync(since))["rooms"] == {}
            await ann.say(room, "back again")
            news = await bob.sync(since)
            assert bodies(news["rooms"]["join"][room]) == ["back again"]
            await ann.put(at(room, f"/typing/{quote(ann.user)}"), {"typing": True})
            assert (await bob.sync(news["next_batch"]))["rooms"]["join"][room]["ephemeral"]["events"]
    finally:
        files.unregister()
