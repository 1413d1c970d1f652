from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_AUTH_EVENTS, MAX_EVENT_BYTES, MAX_PREV_EVENTS
from relay.core.matrix import canonical_json
from relay.core.matrix.events import (
    EventTooLargeError,
    MalformedEventError,
    check_content_hash,
    client_format,
    event_id_of,
    parse_pdu,
    redacted_event,
    stored_event,
)
from tests.unit.core.matrix.rooms import ALICE, Room
from tests.unit.core.matrix.test_canonical_json import JSON

VERSIONS = ["10", "11", "12"]
ID = "$" + "A" * 43
REQUIRED = sorted(Room("11").message("x").raw)


@pytest.fixture(params=VERSIONS)
def room(request: pytest.FixtureRequest) -> Room:
    return Room(request.param)


def raw_message(room: Room, **changed: Any) -> dict[str, Any]:
    return {**room.message("hello").raw, **changed}


def test_a_pdu_reads_as_what_it_says(room: Room) -> None:
    event = room.message("hello")
    assert (event.type, event.sender, event.state_key, event.is_state) == ("m.room.message", ALICE, None, False)
    assert event.prev_events == room.last
    assert event.content == {"msgtype": "m.text", "body": "hello"}
    assert event.room_id == room.room_id
    assert repr(event) == f"Event({event.event_id})"


def test_the_room_id_of_version_12_is_the_id_of_the_create_event() -> None:
    room = Room("12")
    create = room.state["m.room.create", ""]
    assert create.room_id == "!" + create.event_id[1:]
    assert "room_id" not in create.raw
    assert create.create_id == create.event_id
    assert create.all_auth_events == ()
    message = room.message("hello")
    assert create.event_id not in message.auth_events
    assert message.all_auth_events == (*message.auth_events, create.event_id)


def test_older_versions_cite_the_create_event() -> None:
    room = Room("11")
    message = room.message("hello")
    assert room.state["m.room.create", ""].event_id in message.auth_events
    assert message.all_auth_events == message.auth_events
    assert message.create_id is None


def test_unsigned_is_dropped_and_changes_nothing(room: Room) -> None:
    raw = raw_message(room)
    with_unsigned = parse_pdu({**raw, "unsigned": {"age": 1.5}}, room.version)
    assert with_unsigned.event_id == parse_pdu(raw, room.version).event_id
    assert "unsigned" not in with_unsigned.raw
    assert with_unsigned.content_hash_ok


def test_an_event_read_back_from_the_store_is_the_same(room: Room) -> None:
    event = room.message("hello")
    again = stored_event(event.raw, room.version, event.event_id, rejected=True)
    assert again.rejected
    again.rejected = False
    for name in ("event_id", "room_id", "content", "auth_events", "prev_events", "sender", "redacts"):
        assert getattr(again, name) == getattr(event, name)
    assert again.signed_bytes() == event.signed_bytes()


def test_changed_content_is_noticed_and_keeps_the_id_and_only_the_redacted_form_is_kept(room: Room) -> None:
    genuine = room.message("hello")
    forged = parse_pdu({**genuine.raw, "content": {"body": "forged"}}, room.version)
    assert forged.event_id == genuine.event_id
    assert check_content_hash(genuine)
    assert not check_content_hash(forged)
    kept = redacted_event(forged)
    assert kept.content == {}
    assert kept.event_id == genuine.event_id
    assert event_id_of(kept.raw, room.version) == genuine.event_id


@pytest.mark.parametrize("claim", ["", "!!", "AAAA"])
def test_a_hash_that_is_none_only_fails_the_comparison(room: Room, claim: str) -> None:
    assert not parse_pdu(raw_message(room, hashes={"sha256": claim}), room.version).content_hash_ok


def test_the_id_is_the_hash_of_the_redacted_form(room: Room) -> None:
    event = room.message("hello")
    assert event_id_of(event.raw, room.version) == event.event_id
    assert parse_pdu({**event.raw, "depth": event.depth + 1}, room.version).event_id != event.event_id


WRONG: list[tuple[str, Any]] = [
    ("sender", None), ("sender", 5), ("sender", "alice"), ("sender", "@alice"), ("sender", "@alice:"),
    ("type", None), ("type", 1), ("state_key", None), ("state_key", []), ("content", None), ("content", []),
    ("depth", None), ("depth", -1), ("depth", True), ("depth", "1"), ("depth", 1.0), ("depth", 2**53),
    ("origin_server_ts", None), ("origin_server_ts", True), ("origin_server_ts", "0"), ("origin_server_ts", 0.5),
    ("prev_events", None), ("prev_events", ID), ("prev_events", [1]), ("prev_events", ["$short"]),
    ("prev_events", [[ID, {}]]), ("auth_events", None), ("auth_events", {}), ("auth_events", ["$x:old.form"]),
    ("hashes", None), ("hashes", {}), ("hashes", {"sha256": 1}), ("hashes", []),
    ("signatures", None), ("signatures", []), ("signatures", {"home": []}), ("signatures", {"home": None}),
    ("room_id", None), ("room_id", 1), ("room_id", "room"), ("event_id", ID),
    ("content", {"a": 1.5}), ("content", {"a": 2**53}), ("content", {"a": "\ud800"}), ("odd", 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_field_of_the_wrong_form_is_refused(room: Room, name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError):
        parse_pdu(raw_message(room, **{name: value}), room.version)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_refused(room: Room, name: str) -> None:
    raw = raw_message(room)
    del raw[name]
    with pytest.raises(MalformedEventError):
        parse_pdu(raw, room.version)


def test_room_ids_have_the_form_of_their_room_version() -> None:
    for version, room_id in (("11", "!" + "A" * 43), ("12", "!room:home")):
        with pytest.raises(MalformedEventError):
            parse_pdu(raw_message(Room(version), room_id=room_id), Room(version).version)


def test_version_12_refuses_a_create_event_with_a_room_id_and_citing_the_create_event() -> None:
    room = Room("12")
    create = room.state["m.room.create", ""]
    with pytest.raises(MalformedEventError):
        parse_pdu({**create.raw, "room_id": create.room_id}, room.version)
    with pytest.raises(MalformedEventError):
        parse_pdu(raw_message(room, auth_events=[create.event_id]), room.version)


def test_counts_of_previous_and_auth_events_are_limited(room: Room) -> None:
    parse_pdu(raw_message(room, prev_events=[ID] * MAX_PREV_EVENTS, auth_events=[ID] * MAX_AUTH_EVENTS), room.version)
    with pytest.raises(MalformedEventError):
        parse_pdu(raw_message(room, prev_events=[ID] * (MAX_PREV_EVENTS + 1)), room.version)
    with pytest.raises(MalformedEventError):
        parse_pdu(raw_message(room, auth_events=[ID] * (MAX_AUTH_EVENTS + 1)), room.version)


def test_identifiers_are_limited_in_bytes_not_letters(room: Room) -> None:
    parse_pdu(raw_message(room, type="t" * 255, state_key="k" * 255), room.version)
    for name in ("type", "state_key"):
        with pytest.raises(EventTooLargeError):
            parse_pdu(raw_message(room, **{name: "ä" * 128}), room.version)
    with pytest.raises(InvalidInputError):
        parse_pdu(raw_message(room, sender="@" + "a" * 250 + ":home"), room.version)


def test_the_size_limit_counts_the_canonical_form_with_signatures(room: Room) -> None:
    empty = raw_message(room, content={"body": ""})
    space = MAX_EVENT_BYTES - len(canonical_json.encode(empty))
    parse_pdu({**empty, "content": {"body": "x" * space}}, room.version)
    with pytest.raises(EventTooLargeError):
        parse_pdu({**empty, "content": {"body": "x" * (space + 1)}}, room.version)


@given(name=st.sampled_from([*Room("10").message("x").raw, "state_key", "redacts", "unsigned", "event_id"]), value=JSON)
@settings(max_examples=150)
def test_a_hostile_pdu_is_an_event_or_invalid_input(name: str, value: Any) -> None:
    for version in VERSIONS:
        room = ROOMS[version]
        try:
            event = parse_pdu({**MESSAGES[version], name: value}, room.version)
        except InvalidInputError:
            continue
        redacted = redacted_event(event)
        assert redacted.event_id == event_id_of(redacted.raw, room.version) == event.event_id
        client_format(event)


@given(raw=st.dictionaries(st.sampled_from([*Room("10").message("x").raw]), JSON) | st.dictionaries(st.text(), JSON))
@settings(max_examples=60)
def test_any_object_is_an_event_or_invalid_input(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        parse_pdu(raw, ROOMS["12"].version)


def test_apps_see_an_event_in_their_own_format(room: Room) -> None:
    event = room.make("m.room.topic", {"topic": "tea"}, state_key="")
    assert client_format(event, unsigned={"age": 5}) == {
        "content": {"topic": "tea"},
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "room_id": room.room_id,
        "sender": ALICE,
        "state_key": "",
        "type": "m.room.topic",
        "unsigned": {"age": 5},
    }
    shown = client_format(room.message("x"), with_room_id=False)
    assert not {"room_id", "state_key", "unsigned", "redacts"} & shown.keys()


def test_a_redaction_names_its_target_in_both_places_for_apps_and_in_one_for_servers(room: Room) -> None:
    target = room.message("oops").event_id
    event = room.make("m.room.redaction", {"reason": "typo"}, redacts=target)
    assert event.redacts == target
    assert ("redacts" in event.raw) == (room.version.id == "10")
    shown = client_format(event)
    assert shown["redacts"] == target
    assert shown["content"] == {"reason": "typo", "redacts": target}


ROOMS = {version: Room(version) for version in VERSIONS}
MESSAGES = {version: room.message("hello").raw for version, room in ROOMS.items()}
