from typing import Any

import pytest

from relay.base.limits import MAX_PROFILE_BYTES
from tests.unit.client_api.conftest import ALICE, BOB, CAROL, Flat

MINE = f"v3/profile/{ALICE}"


async def test_a_name_is_set_shown_in_rooms_and_taken_off(flat: Flat) -> None:
    assert await flat.ask("GET", MINE, token=None) == (200, {})
    assert await flat.ask("PUT", f"{MINE}/displayname", {"displayname": "Alice"}) == (200, {})
    assert await flat.ask("PUT", f"{MINE}/displayname", {"displayname": "Alice"}) == (200, {})
    assert flat.spread == [(ALICE, {"displayname": "Alice"})]
    assert await flat.ask("GET", f"{MINE}/displayname", token=None) == (200, {"displayname": "Alice"})
    assert await flat.ask("PUT", f"{MINE}/displayname", {"displayname": ""}) == (200, {})
    assert flat.spread[1:] == [(ALICE, {})]
    assert await flat.refused("GET", f"{MINE}/displayname", token=None) == (404, "M_NOT_FOUND")


async def test_other_fields_are_kept_and_not_shown_in_rooms(flat: Flat) -> None:
    assert await flat.ask("PUT", f"{MINE}/org.example.pronouns", {"org.example.pronouns": ["she"]}) == (200, {})
    assert await flat.ask("GET", MINE) == (200, {"org.example.pronouns": ["she"]})
    for _ in range(2):
        assert await flat.ask("DELETE", f"{MINE}/org.example.pronouns") == (200, {})
    assert await flat.ask("GET", MINE) == (200, {})
    assert flat.spread == []
    await flat.ask("PUT", f"{MINE}/avatar_url", {"avatar_url": "mxc://box.test/a"})
    await flat.ask("DELETE", f"{MINE}/avatar_url")
    assert [shown for _, shown in flat.spread] == [{"avatar_url": "mxc://box.test/a"}, {}]


async def test_people_elsewhere_are_asked_for(flat: Flat) -> None:
    flat.peers.profiles[CAROL] = {"displayname": "Carol"}
    assert await flat.ask("GET", f"v3/profile/{CAROL}") == (200, {"displayname": "Carol"})
    assert await flat.ask("GET", f"v3/profile/{CAROL}/displayname") == (200, {"displayname": "Carol"})
    assert await flat.refused("GET", f"v3/profile/{CAROL}/avatar_url") == (404, "M_NOT_FOUND")
    assert await flat.refused("GET", "v3/profile/@nobody:far.test") == (404, "M_NOT_FOUND")
    flat.peers.down.add("far.test")
    assert (await flat.ask("GET", f"v3/profile/{CAROL}"))[0] == 502


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("GET", "v3/profile/@nobody:box.test", None, (404, "M_NOT_FOUND")),
        ("GET", "v3/profile/nobody", None, (400, "M_INVALID_PARAM")),
        ("PUT", f"v3/profile/{BOB}/displayname", {"displayname": "x"}, (403, "M_FORBIDDEN")),
        ("DELETE", f"v3/profile/{BOB}/displayname", None, (403, "M_FORBIDDEN")),
        ("PUT", f"{MINE}/displayname", {}, (400, "M_MISSING_PARAM")),
        ("PUT", f"{MINE}/displayname", {"displayname": 5}, (400, "M_INVALID_PARAM")),
        ("PUT", f"{MINE}/displayname", b"x", (400, "M_NOT_JSON")),
        ("PUT", f"{MINE}/Name", {"Name": "x"}, (400, "M_INVALID_PARAM")),
        ("PUT", f"{MINE}/a.{'b' * 254}", {}, (400, "M_KEY_TOO_LARGE")),
        ("PUT", f"{MINE}/m.tz", {"m.tz": "x" * MAX_PROFILE_BYTES}, (400, "M_PROFILE_TOO_LARGE")),
    ],
)
async def test_bad_requests_are_refused_by_name(
    flat: Flat, method: str, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    assert await flat.refused(method, path, body) == refusal
