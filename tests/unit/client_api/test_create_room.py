"""What presets and overrides make of a room."""

from typing import Any
from urllib.parse import quote

import pytest

from relay.base.errors import InvalidInputError
from relay.base.ids import ServerName, UserId
from relay.client_api.create_room import InvalidRoomStateError, plan_room
from relay.rooms.matrix.deciding.writer import RoomPlan
from tests.fakes.family import at, open_family

ANN, SERVER = UserId("@ann:h"), ServerName("h")


def plan(**body: Any) -> RoomPlan:
    return plan_room(body, ANN, SERVER, {"displayname": "Ann"})


def stated(made: RoomPlan) -> dict[tuple[str, str], Any]:
    return {(event.type, event.state_key): event.content for event in made.events}


@pytest.mark.parametrize(
    ("body", "join_rule", "guests"),
    [
        ({}, "invite", "can_join"),
        ({"visibility": "public"}, "public", "forbidden"),
        ({"preset": "trusted_private_chat"}, "invite", "can_join"),
        ({"preset": "private_chat", "visibility": "public"}, "invite", "can_join"),
    ],
)
def test_presets_set_who_may_join(body: dict[str, Any], join_rule: str, guests: str) -> None:
    state = stated(plan(**body))
    assert state["m.room.join_rules", ""] == {"join_rule": join_rule}
    assert state["m.room.guest_access", ""] == {"guest_access": guests}
    assert state["m.room.history_visibility", ""] == {"history_visibility": "shared"}


def test_the_order_of_events_is_the_specifications() -> None:
    made = plan(
        name="N",
        topic="T",
        room_alias_name="a",
        initial_state=[
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}},
            {"type": "m.room.name", "content": {"name": "overridden"}},
        ],
    )
    kinds = [event.type for event in made.events]
    assert kinds[:2] == ["m.room.power_levels", "m.room.canonical_alias"]
    assert kinds.index("m.room.history_visibility") < kinds.index("m.room.encryption") < kinds.index("m.room.topic")
    assert kinds.count("m.room.join_rules") == kinds.count("m.room.name") == 1
    assert stated(made)["m.room.name", ""] == {"name": "N"}
    assert stated(made)["m.room.join_rules", ""] == {"join_rule": "knock"}
    assert made.alias == "#a:h"


def test_creators_of_version_12_are_not_in_the_levels_and_tombstones_are_theirs() -> None:
    levels = stated(plan(room_version="12"))["m.room.power_levels", ""]
    assert levels["users"] == {}
    assert levels["events"]["m.room.tombstone"] > levels["state_default"]
    assert stated(plan(room_version="11"))["m.room.power_levels", ""]["users"] == {ANN: 100}


def test_trusted_people_become_creators_or_equals() -> None:
    body = {"preset": "trusted_private_chat", "invite": ["@bob:h", "@eve:x"]}
    made = plan(**body, creation_content={"additional_creators": ["@eve:x"], "creator": "@liar:h", "m.federate": False})
    assert made.creation == {"additional_creators": ["@eve:x", "@bob:h"], "m.federate": False}
    older = stated(plan(**body, room_version="10"))["m.room.power_levels", ""]
    assert older["users"] == {ANN: 100, "@bob:h": 100, "@eve:x": 100}


def test_level_overrides_lie_on_top_of_the_default() -> None:
    levels = stated(plan(power_level_content_override={"events_default": 50, "users": {ANN: 99}}))
    assert levels["m.room.power_levels", ""]["events_default"] == 50
    assert levels["m.room.power_levels", ""]["users"] == {ANN: 99}
    assert levels["m.room.power_levels", ""]["ban"] == 50


def test_levels_in_the_initial_state_replace_the_default() -> None:
    made = plan(initial_state=[{"type": "m.room.power_levels", "content": {"users": {ANN: 100}}}], room_version="11")
    assert stated(made)["m.room.power_levels", ""] == {"users": {ANN: 100}}
    assert made.events[0].type == "m.room.power_levels"


@pytest.mark.parametrize(
    "body",
    [
        {"preset": "party"},
        {"invite": ["nobody"]},
        {"invite": "@bob:h"},
        {"room_alias_name": "a:b"},
        {"initial_state": [{"type": "x"}]},
        {"initial_state": ["x"]},
        {"name": 5},
        {"creation_content": []},
        {"invite": ["@a:h"] * 101},
        {"initial_state": [{"type": "x", "content": {}}] * 101},
    ],
)
def test_what_makes_no_sense_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        plan(**body)


def test_what_the_box_makes_itself_cannot_be_in_the_initial_state() -> None:
    with pytest.raises(InvalidRoomStateError):
        plan(initial_state=[{"type": "m.room.create", "content": {}}])


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
