import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import DamagedError
from relay.base.ids import EventId, RoomId
from relay.rooms.matrix.storage.packing import pack, pack_json, read_event, unpack, unpack_json

ROOM = RoomId("!r:a.example")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(content=JSON, with_room=st.booleans())
def test_an_event_comes_back_as_it_was_without_unsigned(content: object, with_room: bool) -> None:
    raw = {"type": "m.room.message", "content": content, "depth": 3}
    if with_room:
        raw["room_id"] = ROOM
    assert unpack(pack({**raw, "unsigned": {"age": 4}}), ROOM) == raw


@given(value=JSON)
def test_any_json_value_comes_back(value: object) -> None:
    assert unpack_json(pack_json(value)) == value


@given(noise=st.binary(max_size=60))
def test_damaged_bytes_are_named_as_such_or_are_json(noise: bytes) -> None:
    try:
        unpack_json(noise)
    except DamagedError:
        return


def test_a_message_takes_little_more_than_its_hashes() -> None:
    raw = {
        "auth_events": ["$" + letter * 43 for letter in "abc"],
        "content": {"body": "hello there, how are you today?", "msgtype": "m.text"},
        "hashes": {"sha256": "h" * 43},
        "prev_events": ["$" + "p" * 43],
        "room_id": ROOM,
        "sender": "@anna:a.example",
        "type": "m.room.message",
    }
    assert len(pack(raw)) < 150


def test_garbage_is_damaged() -> None:
    with pytest.raises(DamagedError):
        unpack_json(b"\xff\xff\xff")


def test_small_events_are_read_once_and_large_ones_are_not_kept() -> None:
    raw = {
        "auth_events": [],
        "content": {"body": "x"},
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": [],
        "room_id": ROOM,
        "sender": "@anna:a.example",
        "type": "m.room.message",
    }
    noise = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(100))
    for content, kept in (({"body": "x"}, True), ({"body": noise}, False)):
        packed = pack({**raw, "content": content})
        one, other = (read_event(packed, EventId("$x"), ROOM, "11") for _ in range(2))
        assert one.content == content
        assert (one is other) is kept
        assert read_event(packed, EventId("$x"), ROOM, "11", rejected=True).rejected
