"""What is unread, for whom."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from relay.delivery import unread
from tests.fakes.family import App, at, open_family, two

THREADS = json.dumps({"room": {"timeline": {"unread_thread_notifications": True}}})


async def counts(app: App, room: str) -> tuple[int, int]:
    shown = (await app.sync())["rooms"]["join"][room]["unread_notifications"]
    return shown["notification_count"], shown["highlight_count"]


async def send(app: App, room: str, kind: Any = "m.room.message", **content: Any) -> str:
    app.family.said += 1
    path = at(room, f"/send/{kind}/n{app.family.said}")
    return str((await app.put(path, {"msgtype": "m.text", "body": "x", **content}))["event_id"])


async def test_messages_of_others_count_until_they_are_read() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        ids = [await ann.say(room, str(number)) for number in range(5)]
        assert await counts(bob, room) == (5, 0)
        assert await counts(ann, room) == (0, 0)
        await bob.post(at(room, f"/receipt/m.read/{quote(ids[2])}"))
        assert await counts(bob, room) == (2, 0)
        await bob.post(at(room, f"/receipt/m.read.private/{quote(ids[4])}"))
        assert await counts(bob, room) == (0, 0)
        await bob.post(at(room, f"/receipt/m.read/{quote(ids[3])}"))
        assert await counts(bob, room) == (0, 0)
        await ann.say(room, "one more")
        assert await counts(bob, room) == (1, 0)


async def test_encrypted_messages_count_though_nobody_here_can_read_them() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await send(ann, room, "m.room.encrypted", algorithm="m.megolm.v1.aes-sha2", ciphertext="AwgA")
        assert await counts(bob, room) == (1, 0)


async def test_mentions_highlight_and_reactions_edits_and_notices_do_not_even_count() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await send(ann, room, **{"m.mentions": {"user_ids": [bob.user]}})
        assert await counts(bob, room) == (1, 1)
        await send(ann, room, **{"m.mentions": {"room": True}})
        assert await counts(bob, room) == (2, 2)
        relation = {"rel_type": "m.annotation", "event_id": said, "key": "+"}
        await send(ann, room, "m.reaction", **{"m.relates_to": relation})
        await send(ann, room, **{"m.relates_to": {"rel_type": "m.replace", "event_id": said}})
        await send(ann, room, msgtype="m.notice")
        assert await counts(bob, room) == (2, 2)
        await send(bob, room)
        await send(bob, room, **{"m.mentions": {"room": True}})
        assert await counts(ann, room) == (2, 0)


async def test_a_keyword_of_ones_own_highlights_and_a_changed_rule_counts_anew() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await ann.say(room, "is there any cake?")
        assert await counts(bob, room) == (1, 0)
        rule = {"pattern": "cake", "actions": ["notify", {"set_tweak": "highlight"}]}
        await bob.put("/pushrules/global/content/cake", rule)
        assert await counts(bob, room) == (1, 1)
        await bob.put(f"/pushrules/global/room/{quote(room)}", {"actions": []})
        await ann.say(room, "no")
        assert await counts(bob, room) == (1, 1)


async def test_who_writes_has_read_and_who_joins_begins_at_nothing() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        await ann.say(room, "1")
        await bob.say(room, "2")
        assert await counts(bob, room) == (0, 0)
        eve = await family.app("eve")
        await eve.join(room)
        assert await counts(eve, room) == (0, 0)


async def test_a_message_that_was_redacted_before_it_was_counted_does_not_count() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        said = await ann.say(room, "oops")
        await ann.put(at(room, f"/redact/{quote(said)}/t1"))
        shown = (await bob.sync())["rooms"]["join"][room]["unread_notifications"]
        assert shown["notification_count"] == 0


async def test_threads_are_counted_apart_where_the_app_asks_for_it() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        root = await ann.say(room, "root")
        thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        inside = [await send(ann, room, **thread) for _ in range(3)]
        section = (await bob.sync(filter=THREADS))["rooms"]["join"][room]
        assert section["unread_notifications"]["notification_count"] == 1
        assert section["unread_thread_notifications"][root]["notification_count"] == 3
        assert await counts(bob, room) == (4, 0)
        await bob.post(at(room, f"/receipt/m.read/{quote(inside[1])}"), {"thread_id": root})
        section = (await bob.sync(filter=THREADS))["rooms"]["join"][room]
        assert section["unread_thread_notifications"][root]["notification_count"] == 1
        assert section["unread_notifications"]["notification_count"] == 1
        await bob.post(at(room, f"/receipt/m.read/{quote(root)}"), {"thread_id": "main"})
        assert await counts(bob, room) == (1, 0)


async def test_counts_stay_right_beyond_what_is_remembered_or_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MAX_UNREAD_COUNTERS", 1)
    monkeypatch.setattr(unread, "MAX_UNREAD_EVENTS", 3)
    async with open_family() as family:
        ann, bob, room = await two(family)
        other = await ann.create_room(preset="public_chat")
        await bob.join(other)
        for _ in range(5):
            await ann.say(room, "x")
        await ann.say(other, "y")
        for _ in range(3):
            await bob.sync()
        assert (await counts(bob, room))[0] <= 5
        assert await counts(bob, other) == (1, 0)
        monkeypatch.setattr(unread, "MAX_UNREAD_EVENTS", 1000)
        assert await counts(bob, room) == (5, 0)
