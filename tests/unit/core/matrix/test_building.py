import pytest

from relay.base.errors import InvalidInputError
from relay.base.ids import ServerName
from relay.core.matrix import building, signing
from relay.core.matrix.events import MAX_DEPTH
from tests.unit.core.matrix.rooms import ALICE, BOB, Room

VERSIONS = ["10", "11", "12"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_built_event_has_a_right_hash_and_signature(version: str) -> None:
    room = Room(version)
    event = room.message("hello")
    assert event.content_hash_ok
    signing.verify_event(event, {room.server: {room.signing_key.key_id: room.signing_key.verify_key}})


@pytest.mark.parametrize("version", VERSIONS)
def test_signing_again_keeps_the_other_signatures_and_the_id(version: str) -> None:
    room = Room(version)
    event = room.message("hello")
    key = signing.generate(b"z" * 32, "z")
    again = building.hash_and_sign(event.raw, room.version, room.server, key)
    assert again.event_id == event.event_id
    assert again.raw["signatures"][room.server].keys() == {room.signing_key.key_id, key.key_id}


def test_the_depth_stops_at_the_limit() -> None:
    room = Room("12")
    room.depth = MAX_DEPTH
    assert room.message("deep").depth == MAX_DEPTH


def test_a_draft_answers_make_join_and_can_be_signed_by_the_joining_server() -> None:
    room = Room("12")
    raw = building.draft(
        room.version,
        room_id=room.room_id,
        sender=BOB,
        event_type="m.room.member",
        content={"membership": "join"},
        state_key=BOB,
        prev_events=room.last,
        auth_events=[],
        depth=3,
        origin_server_ts=5,
    )
    assert not {"hashes", "signatures", "event_id", "redacts"} & raw.keys()
    away = signing.generate(b"b" * 32, "b")
    event = building.hash_and_sign(raw, room.version, ServerName("away"), away)
    assert (event.sender, event.state_key, event.key) == (BOB, BOB, ("m.room.member", BOB))


@pytest.mark.parametrize("content", [{"a": 1.5}, {"a": 2**60}, {"a": "\ud800"}, {"body": "x" * 70_000}])
def test_what_no_event_may_hold_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        Room("11").make("m.room.message", content, sender=ALICE)
