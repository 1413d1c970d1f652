"""A family's apps against one box, from the door inwards."""

from urllib.parse import quote

import trio

from tests.fakes.family import Family, open_family


async def two_in_a_room(family: Family, **body: object) -> tuple[object, object, str]:
    ann, bob = await family.app("ann"), await family.app("bob")
    room = await ann.create_room(preset="public_chat", **body)
    await bob.join(room)
    return ann, bob, room


async def test_a_message_reaches_the_other_person_by_sync() -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        room = await ann.create_room(name="Kitchen", invite=[bob.user])
        asked = await bob.sync()
        assert room in asked["rooms"]["invite"]
        await bob.join(room)
        first = await bob.sync(asked["next_batch"])
        joined = first["rooms"]["join"][room]
        assert {"m.room.create", "m.room.name"} <= {event["type"] for event in joined["state"]["events"]} | {
            event["type"] for event in joined["timeline"]["events"]
        }
        event_id = await ann.say(room, "dinner")
        news = await bob.sync(first["next_batch"])
        (event,) = news["rooms"]["join"][room]["timeline"]["events"]
        assert (event["event_id"], event["content"]["body"]) == (event_id, "dinner")
        assert news["rooms"]["join"][room]["unread_notifications"]["notification_count"] == 1
        assert (await bob.sync(news["next_batch"]))["rooms"] == {}


async def test_a_waiting_sync_wakes_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_family() as family:
        ann, bob = await family.app("ann"), await family.app("bob")
        room = await ann.create_room(preset="public_chat")
        await bob.join(room)
        since = (await bob.sync())["next_batch"]
        got = []

        async def wait() -> None:
            got.append(await bob.sync(since, timeout=30_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            await ann.say(room, "now")
        assert got[0]["rooms"]["join"][room]["timeline"]["events"][0]["content"]["body"] == "now"
        assert trio.current_time() < 20


async def test_the_same_transaction_sends_once() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        room = await ann.create_room()
        assert await ann.say(room, "x", "t1") == await ann.say(room, "x", "t1")
        assert await ann.say(room, "x", "t2") != await ann.say(room, "x", "t1")
        page = await ann.get(f"/rooms/{quote(room)}/messages?dir=b&limit=2")
        assert [event["type"] for event in page["chunk"]] == ["m.room.message"] * 2
