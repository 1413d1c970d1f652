"""Whatever an app sends to the rooms' endpoints: a reply, never a fault of the box."""

import functools
import json
from typing import Any
from urllib.parse import quote

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.family import at, open_family, two

KEYS = [
    *("user_id", "reason", "room_id", "visibility", "limit", "filter", "messages", "m.read", "m.fully_read"),
    *("thread_id", "typing", "timeout", "membership", "alias", "alt_aliases", "redacts", "m.relates_to", "users"),
    *("preset", "name", "topic", "invite", "initial_state", "creation_content", "power_level_content_override"),
    *("room_version", "type", "content", "state_key", "search_term", "events", "ban", "additional_creators"),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(KEYS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)
ENDPOINTS = [
    ("POST", "/createRoom"),
    *(
        ("POST", f"ROOM/{verb}")
        for verb in ("join", "invite", "leave", "kick", "ban", "unban", "forget", "read_markers")
    ),
    ("PUT", "ROOM/send/m.room.message/TXN"),
    ("PUT", "ROOM/send/m.room.redaction/TXN"),
    ("PUT", "ROOM/redact/EVENT/TXN"),
    ("PUT", "ROOM/state/m.room.member/@bob:box.test"),
    ("PUT", "ROOM/state/m.room.power_levels"),
    ("PUT", "ROOM/state/m.room.canonical_alias"),
    ("PUT", "ROOM/typing/@ann:box.test"),
    ("POST", "ROOM/receipt/m.read/EVENT"),
    ("PUT", "/sendToDevice/m.test/TXN"),
    ("PUT", "/directory/room/%23x:box.test"),
    ("PUT", "/directory/list/room/NAME"),
    ("POST", "/publicRooms"),
    ("POST", "/user_directory/search"),
    ("GET", "/sync?filter=QUERY&since=QUERY"),
    ("GET", "/sync?filter=QUERY"),
    ("GET", "ROOM/messages?dir=b&filter=QUERY"),
    ("GET", "ROOM/messages?dir=b&from=QUERY&to=QUERY&limit=QUERY"),
    ("GET", "ROOM/context/EVENT?limit=QUERY"),
    ("GET", "ROOM/members?at=QUERY"),
    ("GET", "ROOM/event/QUERY"),
]


async def _try(tries: list[tuple[tuple[str, str], Any]]) -> None:
    async with open_family() as family:
        ann, bob, room = await two(family, room_version="11")
        event = await ann.say(room, "x")
        for number, ((method, path), body) in enumerate(tries):
            sent = json.dumps(body)
            target = path.replace("ROOM", at(room)).replace("EVENT", quote(event)).replace("TXN", f"h{number}")
            target = target.replace("NAME", quote(room)).replace("QUERY", quote(sent))
            for app in (ann, bob):
                response = await app.ask(method, target, raw=b"" if method == "GET" else sent.encode())
                assert response.status in (200, 400, 403, 404, 405, 409, 413, 429, 502), (method, target, sent)
        await ann.sync()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ENDPOINTS), JSON), max_size=12))
def test_no_body_and_no_query_breaks_an_endpoint(tries: list[tuple[tuple[str, str], Any]]) -> None:
    trio.run(functools.partial(_try, tries))
