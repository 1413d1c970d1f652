"""Names that lead to rooms."""

from urllib.parse import quote

import pytest

from relay.client_api import room_directory
from relay.transport.message import Request
from tests.fakes.family import at, open_family, two


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


async def test_the_directory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_directory, "MAX_DIRECTORY_ROOMS", 2)
    async with open_family() as family:
        ann = await family.app("ann")
        for _ in range(3):
            await ann.create_room(visibility="public")
        assert len((await ann.get("/publicRooms"))["chunk"]) == 2
        assert len((await ann.get("/publicRooms?limit=1"))["chunk"]) == 1
        assert (await ann.get("/publicRooms?server=far.test"))["chunk"] == []


async def test_only_people_of_the_box_make_it_ask_other_servers() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        await ann.create_room(room_alias_name="here")
        near, far = (f"/directory/room/{quote(alias)}" for alias in ("#here:box.test", "#there:far.test"))
        stranger = await family.door.answer(Request("GET", f"/_matrix/client/v3{near}"))
        assert stranger.status == 200
        stranger = await family.door.answer(Request("GET", f"/_matrix/client/v3{far}"))
        assert (stranger.status, stranger.parsed()["errcode"]) == (401, "M_MISSING_TOKEN")
        assert (await ann.refused("GET", far))[0] == 502
