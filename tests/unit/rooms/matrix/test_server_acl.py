from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.ids import EventId, ServerName
from relay.core.matrix.events import Event, stored_event
from relay.core.matrix.room_versions import room_version
from relay.rooms.matrix.server_acl import allows


def _listed(content: dict[str, Any]) -> Event:
    raw = {
        "type": "m.room.server_acl",
        "state_key": "",
        "sender": "@a:a",
        "content": content,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
        "origin_server_ts": 1,
        "room_id": "!r:a",
    }
    return stored_event(raw, room_version("11"), EventId("$x"))


@pytest.mark.parametrize(
    ("content", "server", "allowed"),
    [
        ({"allow": ["*"]}, "evil.example", True),
        ({"allow": ["*"], "deny": ["*.EVIL.example"]}, "a.evil.example:8448", False),
        ({"allow": ["*"], "deny": ["evil.exampl?"]}, "Evil.Example", False),
        ({"allow": ["good.example"]}, "evil.example", False),
        ({}, "any.example", False),
        ({"allow": "*"}, "any.example", False),
        ({"allow": ["*", 7]}, "any.example", True),
        ({"allow": ["*"], "allow_ip_literals": False}, "1.2.3.4", False),
        ({"allow": ["*"], "allow_ip_literals": False}, "[::1]:8448", False),
        ({"allow": ["*"], "allow_ip_literals": True}, "1.2.3.4", True),
    ],
)
def test_lists_are_read_as_specified(content: dict[str, Any], server: str, allowed: bool) -> None:
    assert allows(_listed(content), ServerName(server)) is allowed


@given(pattern=st.text("ab*?.", max_size=12), host=st.text("ab.", min_size=1, max_size=12))
def test_patterns_match_as_globs(pattern: str, host: str) -> None:
    assert allows(_listed({"allow": [pattern]}), ServerName(host)) is fnmatchcase(host, pattern)


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not allows(_listed({"allow": ["*a" * 500 + "b"]}), ServerName("a" * 230))
