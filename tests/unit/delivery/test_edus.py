from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.ids import ServerName
from relay.base.limits import MAX_EDU_DEPTH, MAX_TO_DEVICE_RECIPIENTS
from relay.delivery import edus
from relay.delivery.edus import DeviceListUpdate, Receipt, SigningKeyUpdate, ToDevice, Typing, parse_edus

ORIGIN, HERE = ServerName("oma.example"), ServerName("box.example")
OMA, OURS = "@oma:oma.example", "@ada:box.example"
ROOM, EVENT = "!room:oma.example", "$" + "e" * 43


def unit(kind: str, **content: Any) -> dict[str, Any]:
    return {"edu_type": kind, "content": content}


def to_device(**changes: Any) -> dict[str, Any]:
    content = {"sender": OMA, "type": "m.x", "message_id": "1", "messages": {OURS: {"D": {"a": 1}}}}
    return unit("m.direct_to_device", **{**content, **changes})


def receipt(user: str = OMA, data: Any = None, events: Any = None) -> dict[str, Any]:
    held = {"event_ids": [EVENT] if events is None else events, "data": {"ts": 5} if data is None else data}
    return {"edu_type": "m.receipt", "content": {ROOM: {"m.read": {user: held}}}}


def test_each_kind_is_understood() -> None:
    units = [
        to_device(),
        unit("m.device_list_update", user_id=OMA, device_id="D", stream_id=3),
        unit("m.signing_key_update", user_id=OMA, master_key={}),
        unit("m.typing", room_id=ROOM, user_id=OMA, typing=True),
        receipt(data={"ts": 5, "thread_id": "main"}),
        unit("m.presence", push=[]),
        unit("org.example.unknown"),
    ]
    actions, left_out = parse_edus(ORIGIN, HERE, units)
    assert left_out == 0
    assert [type(action) for action in actions] == [ToDevice, DeviceListUpdate, SigningKeyUpdate, Typing, Receipt]


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        {},
        {"edu_type": 5},
        {"edu_type": "m.typing"},
        to_device(sender="@ada:box.example"),
        to_device(sender=None),
        to_device(message_id=""),
        to_device(messages=[]),
        to_device(messages={OMA: {"D": {}}}),
        to_device(messages={OURS: []}),
        to_device(messages={OURS: {"D": "x"}}),
        to_device(messages={OURS: {"D" * 256: {}}}),
        unit("m.device_list_update", user_id="@ada:box.example", device_id="D", stream_id=3),
        unit("m.device_list_update", user_id=OMA, device_id="D", stream_id=2**64),
        unit("m.device_list_update", user_id=OMA, device_id="D", stream_id=True),
        unit("m.device_list_update", user_id=OMA, stream_id=3),
        unit("m.signing_key_update", user_id=OMA, master_key="x"),
        unit("m.typing", room_id=ROOM, user_id=OMA, typing="yes"),
        unit("m.typing", room_id="room", user_id=OMA, typing=True),
        unit("m.typing", room_id=ROOM, user_id="@x:elsewhere.example", typing=True),
        receipt(user="@x:elsewhere.example"),
        receipt(events=[]),
        receipt(events=["x"]),
        receipt(data={"ts": "x"}),
        receipt(data={"ts": 1, "thread_id": 5}),
        unit("m.receipt", **{ROOM: {}}),
    ],
)
def test_a_malformed_or_foreign_unit_is_left_out_and_the_others_stay(bad: Any) -> None:
    actions, left_out = parse_edus(ORIGIN, HERE, [bad, to_device()])
    assert left_out == 1
    assert len(actions) == 1


def test_a_message_is_for_a_bounded_number_of_devices() -> None:
    full: dict[str, Any] = {OURS: {f"D{number}": {} for number in range(MAX_TO_DEVICE_RECIPIENTS)}}
    assert len(parse_edus(ORIGIN, HERE, [to_device(messages=full)])[0]) == MAX_TO_DEVICE_RECIPIENTS
    full[OURS]["one more"] = {}
    assert parse_edus(ORIGIN, HERE, [to_device(messages=full)]) == ([], 1)


def test_what_is_kept_for_an_app_is_not_nested_too_deeply() -> None:
    content: dict[str, Any] = {}
    for _ in range(MAX_EDU_DEPTH):
        content = {"a": content}
    assert not edus.is_shallow(content)
    assert edus.is_shallow(content["a"])
    assert parse_edus(ORIGIN, HERE, [to_device(messages={OURS: {"D": content}})]) == ([], 1)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
    | st.sampled_from([OMA, OURS, ROOM, EVENT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([OMA, OURS, ROOM, "D", "*"]), inner),
    max_leaves=8,
)
FIELDS = ["sender", "type", "message_id", "messages", "user_id", "device_id", "stream_id", "room_id", "typing", ROOM]
KINDS = ["m.direct_to_device", "m.device_list_update", "m.signing_key_update", "m.typing", "m.receipt"]


@given(
    st.fixed_dictionaries(
        {"edu_type": st.sampled_from(KINDS), "content": st.dictionaries(st.sampled_from(FIELDS), JSON)}
    )
)
def test_any_unit_is_understood_or_left_out(hostile: dict[str, Any]) -> None:
    actions, left_out = parse_edus(ORIGIN, HERE, [hostile])
    assert left_out in (0, 1)
    assert not (left_out and actions)
