"""How far people have read, and who hears of it."""

from urllib.parse import quote

import trio

from relay.base.ids import RoomId
from relay.base.limits import MAX_TYPING_S
from tests.fakes.family import at, open_family, two


async def test_a_receipt_is_shown_to_all_and_a_private_one_to_oneself() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await ann.say(room, "x")
        ann_since, bob_since = (await ann.sync())["next_batch"], (await bob.sync())["next_batch"]
        await bob.post(at(room, f"/receipt/m.read.private/{quote(said)}"))
        assert (await ann.sync(ann_since))["rooms"] == {}
        own = (await bob.sync(bob_since))["rooms"]["join"][room]
        (event,) = own["ephemeral"]["events"]
        assert list(event["content"][said]["m.read.private"]) == [bob.user]
        assert own["unread_notifications"]["notification_count"] == 0
        await bob.post(at(room, f"/receipt/m.read/{quote(said)}"), {"thread_id": "main"})
        (event,) = (await ann.sync(ann_since))["rooms"]["join"][room]["ephemeral"]["events"]
        assert event["type"] == "m.receipt"
        assert event["content"][said]["m.read"][bob.user]["thread_id"] == "main"


async def test_markers_set_what_they_name() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await ann.say(room, "x")
        since = (await bob.sync())["next_batch"]
        await bob.post(at(room, "/read_markers"), {"m.fully_read": said, "m.read": said})
        section = (await bob.sync(since))["rooms"]["join"][room]
        assert section["account_data"]["events"] == [{"type": "m.fully_read", "content": {"event_id": said}}]
        assert said in section["ephemeral"]["events"][0]["content"]
        await bob.post(at(room, f"/receipt/m.fully_read/{quote(said)}"))


async def test_a_look_at_a_room_costs_no_commit() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await ann.say(room, "x")
        durable = family.ledger.durable_position
        await bob.post(at(room, "/read_markers"), {"m.fully_read": said, "m.read": said})
        assert family.ledger.durable_position == durable < family.ledger.position


async def test_what_makes_no_sense_is_refused() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await ann.say(room, "x")
        eve = await family.app("eve")
        path = at(room, f"/receipt/m.read/{quote(said)}")
        assert await eve.refused("POST", path, {}) == (403, "M_FORBIDDEN")
        for body in ({"thread_id": ""}, {"thread_id": 5}):
            assert (await bob.refused("POST", path, body))[0] == 400
        assert (await bob.refused("POST", at(room, f"/receipt/m.seen/{quote(said)}"), {}))[0] == 400
        assert (await bob.refused("POST", at(room, "/receipt/m.read/nonsense"), {}))[0] == 400


async def test_nobody_types_longer_than_the_limit(autojump_clock: trio.testing.MockClock) -> None:
    async with open_family() as family, trio.open_nursery() as nursery:
        await nursery.start(family.parts.typing.run)
        ann, _, room = await two(family)
        await ann.put(at(room, f"/typing/{quote(ann.user)}"), {"typing": True, "timeout": 10**12})
        await trio.sleep(MAX_TYPING_S - 1)
        assert family.parts.typing.users(RoomId(room)) == [ann.user]
        await trio.sleep(2)
        assert family.parts.typing.users(RoomId(room)) == []
        nursery.cancel_scope.cancel()
