from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.matrix.redaction import redact
from relay.core.matrix.room_versions import room_version
from tests.unit.core.matrix.test_canonical_json import JSON

TYPES = ["member", "create", "join_rules", "power_levels", "history_visibility", "redaction", "aliases", "message"]


def content_left(version: str, event_type: str, content: Any) -> Any:
    return redact({"type": event_type, "content": content}, room_version(version))["content"]


@pytest.mark.parametrize(
    ("event_type", "content", "left_10", "left_11"),
    [
        ("m.room.create", {"creator": "@a:b", "x": 1}, {"creator": "@a:b"}, {"creator": "@a:b", "x": 1}),
        ("m.room.join_rules", {"join_rule": "x", "allow": [], "y": 1}, {"join_rule": "x", "allow": []}, None),
        ("m.room.power_levels", {"invite": 1, "ban": 2, "notifications": {}}, {"ban": 2}, {"ban": 2, "invite": 1}),
        ("m.room.history_visibility", {"history_visibility": "joined", "x": 1}, {"history_visibility": "joined"}, None),
        ("m.room.redaction", {"redacts": "$a", "reason": "b"}, {}, {"redacts": "$a"}),
        ("m.room.aliases", {"aliases": []}, {}, None),
        ("m.room.message", {"body": "x"}, {}, None),
        (
            "m.room.member",
            {"membership": "join", "join_authorised_via_users_server": "@a:b", "displayname": "A"},
            {"membership": "join", "join_authorised_via_users_server": "@a:b"},
            None,
        ),
        (
            "m.room.member",
            {"membership": "invite", "third_party_invite": {"display_name": "A", "signed": {"token": "t"}}},
            {"membership": "invite"},
            {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}},
        ),
        ("m.room.member", {"third_party_invite": 5}, {}, None),
    ],
)
def test_a_redaction_leaves_what_the_room_version_lists(
    event_type: str, content: Any, left_10: Any, left_11: Any
) -> None:
    assert content_left("10", event_type, content) == left_10
    for version in ("11", "12"):
        assert content_left(version, event_type, content) == (left_10 if left_11 is None else left_11)


@pytest.mark.parametrize(
    ("version", "left"),
    [
        ("6", {"join_rule", "membership"}),
        ("8", {"join_rule", "allow", "membership"}),
        ("9", {"join_rule", "allow", "membership", "join_authorised_via_users_server"}),
    ],
)
def test_older_versions_keep_less(version: str, left: set[str]) -> None:
    content = {"join_rule": "x", "allow": [], "membership": "join", "join_authorised_via_users_server": "@a:b"}
    rules, member = content_left(version, "m.room.join_rules", content), content_left(version, "m.room.member", content)
    assert rules.keys() | member.keys() == left


def test_version_11_drops_three_more_keys_of_the_event() -> None:
    raw = {"type": "x", "content": {}, "origin": "a", "prev_state": [], "membership": "join", "depth": 1, "odd": 2}
    assert redact(raw, room_version("10")).keys() == {"type", "content", "origin", "prev_state", "membership", "depth"}
    assert redact(raw, room_version("11")).keys() == {"type", "content", "depth"}


@given(
    content=st.dictionaries(
        st.sampled_from(["membership", "creator", "allow", "users", "redacts", "third_party_invite", "odd"]), JSON
    ),
    event_type=st.sampled_from([f"m.room.{name}" for name in TYPES]),
    version=st.sampled_from(["10", "11", "12"]),
)
@settings(max_examples=60)
def test_redacting_twice_changes_nothing_more(content: Any, event_type: str, version: str) -> None:
    raw = {"type": event_type, "content": content, "unsigned": {}, "signatures": {"a": {}}, "redacts": "$x"}
    once = redact(raw, room_version(version))
    assert redact(once, room_version(version)) == once
    assert once["content"].keys() <= content.keys()


@pytest.mark.parametrize("raw", [{}, {"content": 5}, {"type": [], "content": {"a": 1}}, {"type": 5, "content": {}}])
def test_what_is_no_event_keeps_no_content(raw: dict[str, Any]) -> None:
    assert redact(raw, room_version("11"))["content"] == {}
