"""What filters let through."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_FILTER_ENTRIES, MAX_TIMELINE_EVENTS
from relay.delivery.sync.filter import EVERYTHING, EventFilter, SyncFilter


def message(sender: str = "@a:h", kind: str = "m.room.message", **content: object) -> dict[str, object]:
    return {"type": kind, "sender": sender, "content": content}


def test_a_filter_without_entries_wants_everything() -> None:
    assert EventFilter.parse({}).wants(message())
    assert EventFilter.parse(None).wants(message())
    assert EVERYTHING.wants_room("!r:h")


@pytest.mark.parametrize(
    ("pattern", "kind", "wanted"),
    [
        ("m.room.*", "m.room.message", True),
        ("m.room.*", "m.reaction", False),
        ("*", "anything", True),
        ("m.*.x", "m..x", True),
        ("m.[r]*", "m.room", False),
        ("m.[r]*", "m.[r]oom", True),
        ("m.?oom", "m.room", False),
        ("***a", "bca", True),
    ],
)
def test_only_the_star_is_special_in_types(pattern: str, kind: str, wanted: bool) -> None:
    assert EventFilter.parse({"types": [pattern]}).wants(message(kind=kind)) is wanted
    assert EventFilter.parse({"not_types": [pattern]}).wants(message(kind=kind)) is not wanted


def test_what_is_excluded_stays_out_even_if_it_is_included_too() -> None:
    both = EventFilter.parse({"senders": ["@a:h", "@b:h"], "not_senders": ["@a:h"]})
    assert not both.wants(message("@a:h"))
    assert both.wants(message("@b:h"))
    assert not both.wants(message("@c:h"))


def test_an_empty_list_of_wanted_types_wants_none() -> None:
    assert not EventFilter.parse({"types": []}).wants(message())


def test_contains_url_asks_for_a_text() -> None:
    with_url = EventFilter.parse({"contains_url": True})
    assert with_url.wants(message(url="mxc://h/x"))
    assert not with_url.wants(message(url=1))
    assert EventFilter.parse({"contains_url": False}).wants(message())


def test_the_limit_is_bounded() -> None:
    assert EventFilter.parse({"limit": 10**9}).limit == MAX_TIMELINE_EVENTS
    assert EventFilter.parse({"limit": 3}).limit == 3


@pytest.mark.parametrize(
    "broken", [{"limit": -1}, {"limit": True}, {"limit": "1"}, {"types": "x"}, {"types": [1]}, {"senders": {}}, []]
)
def test_a_filter_of_the_wrong_type_is_refused(broken: object) -> None:
    with pytest.raises(InvalidInputError):
        EventFilter.parse(broken)


def test_a_list_at_the_limit_is_taken_and_one_beyond_is_refused() -> None:
    EventFilter.parse({"types": ["x"] * MAX_FILTER_ENTRIES})
    with pytest.raises(InvalidInputError, match="entries"):
        EventFilter.parse({"types": ["x"] * (MAX_FILTER_ENTRIES + 1)})


def test_rooms_are_filtered_for_the_whole_sync_and_for_each_part() -> None:
    wanted = SyncFilter.parse({"room": {"not_rooms": ["!a:h"], "timeline": {"rooms": ["!b:h"]}}})
    assert not wanted.wants_room("!a:h")
    assert wanted.wants_room("!b:h")
    assert wanted.timeline.wants_room("!b:h")
    assert not wanted.timeline.wants_room("!c:h")


def test_event_fields_keep_what_tells_events_apart_and_the_paths_asked_for() -> None:
    wanted = SyncFilter.parse({"event_fields": ["content.body", r"content.m\.relates_to.rel_type", "unsigned.age"]})
    event = {
        "type": "m.room.message",
        "event_id": "$x",
        "content": {"body": "b", "msgtype": "m.text", "m.relates_to": {"rel_type": "m.thread", "event_id": "$y"}},
        "unsigned": {"age": 1},
    }
    assert wanted.trim(event) == {
        "type": "m.room.message",
        "event_id": "$x",
        "content": {"body": "b", "m.relates_to": {"rel_type": "m.thread"}},
        "unsigned": {"age": 1},
    }
    assert event["unsigned"] == {"age": 1}


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["room", "types", "timeline", "limit", "state", "event_fields", "rooms"]), x
            )
        ),
    )
)
def test_any_json_is_a_filter_or_a_clear_error(value: object) -> None:
    if isinstance(value, dict):
        try:
            parsed = SyncFilter.parse(value)
        except InvalidInputError:
            return
        parsed.timeline.wants(message())
        parsed.trim(message())
