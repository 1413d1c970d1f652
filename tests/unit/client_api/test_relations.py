"""What relates to an event."""

from typing import Any
from urllib.parse import quote

import pytest

from relay.client_api import relations
from tests.fakes.family import App, at, open_family, two


async def relate(app: App, room: str, kind: str, target: str, rel_type: str) -> str:
    app.family.said += 1
    relation = {"rel_type": rel_type, "event_id": target, "key": "+"}
    path = at(room, f"/send/{kind}/n{app.family.said}")
    return str((await app.put(path, {"body": "x", "msgtype": "m.text", "m.relates_to": relation}))["event_id"])


async def related(app: App, room: str, target: str, rest: str = "") -> Any:
    return await app.get(f"/_matrix/client/v1/rooms/{quote(room)}/relations/{quote(target)}{rest}")


def ids(answer: Any) -> list[str]:
    return [event["event_id"] for event in answer["chunk"]]


async def test_relations_are_found_by_type_and_in_pages() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        target, other = await ann.say(room, "x"), await ann.say(room, "y")
        reactions = [await relate(app, room, "m.reaction", target, "m.annotation") for app in (ann, bob, ann)]
        edit = await relate(ann, room, "m.room.message", target, "m.replace")
        await relate(ann, room, "m.reaction", other, "m.annotation")
        assert ids(await related(bob, room, target)) == [edit, *reversed(reactions)]
        assert ids(await related(bob, room, target, "/m.annotation")) == reactions[::-1]
        assert ids(await related(bob, room, target, "/m.replace/m.room.message")) == [edit]
        assert ids(await related(bob, room, target, "/m.replace/m.reaction")) == []
        assert ids(await related(bob, room, target, "?dir=f")) == [*reactions, edit]
        for direction in ("b", "f"):
            seen: list[str] = []
            page = await related(bob, room, target, f"?limit=1&dir={direction}")
            while True:
                seen += ids(page)
                if "next_batch" not in page:
                    break
                page = await related(bob, room, target, f"?limit=1&dir={direction}&from={page['next_batch']}")
            assert sorted(seen) == sorted([*reactions, edit])


async def test_relations_of_what_one_may_not_see_are_not_found() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        target = await ann.say(room, "x")
        eve = await family.app("eve")
        path = f"/_matrix/client/v1/rooms/{quote(room)}/relations/"
        assert await eve.refused("GET", path + quote(target)) == (403, "M_FORBIDDEN")
        assert await bob.refused("GET", path + quote("$" + "A" * 43)) == (404, "M_NOT_FOUND")


async def test_threads_are_listed_by_their_newest_reply() -> None:
    async with open_family() as family:
        ann, bob, room = await two(family)
        first, second = await ann.say(room, "1"), await ann.say(room, "2")
        await relate(ann, room, "m.room.message", second, "m.thread")
        await relate(ann, room, "m.room.message", first, "m.thread")
        newest = await relate(bob, room, "m.room.message", first, "m.thread")
        path = f"/_matrix/client/v1/rooms/{quote(room)}/threads"
        answer = await bob.get(path)
        assert ids(answer) == [first, second]
        summary = answer["chunk"][0]["unsigned"]["m.relations"]["m.thread"]
        assert (summary["count"], summary["latest_event"]["event_id"]) == (2, newest)
        assert ids(await bob.get(path + "?include=participated")) == [first]


async def test_a_long_timeline_is_searched_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "MAX_RELATION_SCANS", 2)
    monkeypatch.setattr(relations, "MAX_PAGE_EVENTS", 3)
    async with open_family() as family:
        ann, _, room = await two(family)
        target = await ann.say(room, "x")
        reaction = await relate(ann, room, "m.reaction", target, "m.annotation")
        for number in range(10):
            await ann.say(room, str(number))
        first = await related(ann, room, target)
        assert (ids(first), "next_batch" in first) == ([], True)
        second = await related(ann, room, target, f"?from={first['next_batch']}")
        assert ids(second) == [reaction]
