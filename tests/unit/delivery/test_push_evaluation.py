"""Which events notify."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.delivery.push_evaluation import SILENT, PushRules, RoomFacts, Verdict, split_path

NOTIFY = Verdict(notify=True, highlight=False)
HIGHLIGHT = Verdict(notify=True, highlight=True)
FACTS = RoomFacts(3, "Ann Onym", lambda sender, key: sender == "@admin:h" and key == "room")


def message(body: Any = "hello", sender: Any = "@b:h", **extra: Any) -> dict[str, Any]:
    return {"type": "m.room.message", "sender": sender, "room_id": "!r:h", "content": {"body": body, **extra}}


def override(*conditions: object, actions: object = ("notify",)) -> dict[str, Any]:
    return {"override": [{"rule_id": "x", "conditions": list(conditions), "actions": list(actions)}]}  # type: ignore[call-overload]


def verdict(ruleset: dict[str, Any], event: dict[str, Any]) -> Verdict:
    return PushRules(ruleset).verdict(event, FACTS)


def test_without_a_matching_rule_nothing_happens() -> None:
    assert verdict({}, message()) == SILENT


def test_the_kinds_are_tried_in_their_order_and_the_first_match_decides() -> None:
    rules = {
        "underride": [{"conditions": [], "actions": ["notify", {"set_tweak": "highlight"}]}],
        "room": [{"rule_id": "!r:h", "actions": []}],
    }
    assert verdict(rules, message()) == SILENT
    assert verdict(rules, {**message(), "room_id": "!other:h"}) == HIGHLIGHT


def test_a_disabled_rule_never_matches() -> None:
    assert verdict({"sender": [{"rule_id": "@b:h", "enabled": False, "actions": ["notify"]}]}, message()) == SILENT


def test_old_actions_mean_nothing() -> None:
    assert verdict(override(actions=["dont_notify", "coalesce"]), message()) == SILENT


def test_a_highlight_of_false_is_none() -> None:
    rules = override(actions=["notify", {"set_tweak": "highlight", "value": False}])
    assert verdict(rules, message()) == NOTIFY


@pytest.mark.parametrize(
    ("pattern", "body", "matches"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("tea", "It's time for TEA!", True),
        ("tea", "steam", False),
        ("tea", "tea_time", False),
        ("t?a", "tea", True),
        ("t?a", "ta", False),
        ("a.b", "axb", False),
    ],
)
def test_content_rules_match_whole_words(pattern: str, body: str, matches: bool) -> None:
    assert verdict({"content": [{"pattern": pattern, "actions": ["notify"]}]}, message(body)).notify is matches


@pytest.mark.parametrize(
    ("topic", "matches"), [("Lunch plans", True), ("LUNCH", True), (" lunch", False), ("lunc", False), (None, False)]
)
def test_event_match_matches_the_whole_value(topic: object, matches: bool) -> None:
    rules = override({"kind": "event_match", "key": "content.topic", "pattern": "lunc?*"})
    event = message() if topic is None else message(topic=topic)
    assert verdict(rules, event).notify is matches


def test_a_property_is_compared_without_casting() -> None:
    rules = override({"kind": "event_property_is", "key": r"content.m\.federate", "value": True})
    assert verdict(rules, message(**{"m.federate": True})).notify
    assert not verdict(rules, message(**{"m.federate": 1})).notify
    assert not verdict(rules, message(**{"m.federate": "true"})).notify
    assert not verdict(rules, message()).notify


def test_mentions_of_a_user_and_of_the_room() -> None:
    user = override({"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": "@a:h"})
    assert verdict(user, message(**{"m.mentions": {"user_ids": ["@c:h", "@a:h"]}})).notify
    assert not verdict(user, message(**{"m.mentions": {"user_ids": "@a:h"}})).notify
    room = override(
        {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
        {"kind": "sender_notification_permission", "key": "room"},
    )
    assert verdict(room, message(sender="@admin:h", **{"m.mentions": {"room": True}})).notify
    assert not verdict(room, message(**{"m.mentions": {"room": True}})).notify


@pytest.mark.parametrize(
    ("count", "matches"), [("3", True), ("==3", True), ("<3", False), (">=3", True), (">2", True), ("x", False)]
)
def test_member_counts(count: str, matches: bool) -> None:
    assert verdict(override({"kind": "room_member_count", "is": count}), message()).notify is matches


def test_display_names_are_found_as_words() -> None:
    rules = override({"kind": "contains_display_name"})
    assert verdict(rules, message("hey ann onym!")).notify
    assert not verdict(rules, message("hey annonym")).notify


def test_an_unknown_condition_never_matches() -> None:
    assert verdict(override({"kind": "org.example.unknown"}), message()) == SILENT
    assert verdict(override("nonsense"), message()) == SILENT


@pytest.mark.parametrize(
    ("path", "keys"),
    [("a.b", ("a", "b")), (r"a\.b.c", ("a.b", "c")), (r"a\\.b", ("a\\", "b")), (r"a\x", ("a\\x",)), ("", ("",))],
)
def test_paths_split_at_dots_that_are_not_escaped(path: str, keys: tuple[str, ...]) -> None:
    assert split_path(path) == keys


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    max_leaves=8,
)


@settings(max_examples=30)
@given(
    st.sampled_from(["event_match", "event_property_is", "event_property_contains", "room_member_count"]),
    st.dictionaries(st.sampled_from(["key", "pattern", "value", "is"]), json),
    st.dictionaries(st.text(max_size=3), json),
)
def test_no_condition_and_no_content_breaks_the_evaluation(
    kind: str, fields: dict[str, Any], content: dict[str, Any]
) -> None:
    verdict(override({"kind": kind, **fields}), {**message(), "content": content})
