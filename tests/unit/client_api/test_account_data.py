from typing import Any
from urllib.parse import quote

import pytest

from relay.base.limits import MAX_ACCOUNT_DATA_BYTES
from tests.unit.client_api.conftest import ALICE, BOB, Flat

MINE, BOBS = f"v3/user/{ALICE}", f"v3/user/{BOB}"
ROOM = f"{MINE}/rooms/{quote('!a:box.test')}"


@pytest.mark.parametrize("place", [MINE, ROOM])
async def test_data_is_stored_and_read(flat: Flat, place: str) -> None:
    assert await flat.refused("GET", f"{place}/account_data/m.direct") == (404, "M_NOT_FOUND")
    assert await flat.ask("PUT", f"{place}/account_data/m.direct", {"a": [1]}) == (200, {})
    assert await flat.ask("GET", f"{place}/account_data/m.direct") == (200, {"a": [1]})


async def test_push_rules_are_read_here_too(flat: Flat) -> None:
    status, rules = await flat.ask("GET", f"{MINE}/account_data/m.push_rules")
    assert (status, set(rules)) == (200, {"global"})


@pytest.mark.parametrize("place", [MINE, ROOM])
@pytest.mark.parametrize("managed", ["m.fully_read", "m.push_rules"])
async def test_what_the_box_manages_is_not_to_be_written(flat: Flat, place: str, managed: str) -> None:
    assert await flat.refused("PUT", f"{place}/account_data/{managed}", {}) == (405, "M_BAD_JSON")


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        (f"{BOBS}/account_data/t", {}, (403, "M_FORBIDDEN")),
        (f"{BOBS}/rooms/!a:b/account_data/t", {}, (403, "M_FORBIDDEN")),
        (f"{BOBS}/rooms/!a:b/tags/t", {}, (403, "M_FORBIDDEN")),
        (f"{MINE}/rooms/room/account_data/t", {}, (400, "M_INVALID_PARAM")),
        (f"{MINE}/account_data/t", [], (400, "M_BAD_JSON")),
        (f"{MINE}/account_data/t", b"x", (400, "M_NOT_JSON")),
        (f"{MINE}/account_data/t", {"": "x" * MAX_ACCOUNT_DATA_BYTES}, (413, "M_TOO_LARGE")),
        (f"{ROOM}/tags/u.x", {"order": "first"}, (400, "M_INVALID_PARAM")),
        (f"{ROOM}/tags/u.{'x' * 254}", {}, (400, "M_INVALID_PARAM")),
    ],
)
async def test_bad_requests_are_refused_by_name(flat: Flat, path: str, body: Any, refusal: tuple[int, str]) -> None:
    raw = b"[]" if body == [] else body
    assert await flat.refused("PUT", path, raw) == refusal


async def test_somebody_elses_data_is_not_shown(flat: Flat) -> None:
    for path in (f"{BOBS}/account_data/t", f"{BOBS}/rooms/!a:b/tags"):
        assert await flat.refused("GET", path) == (403, "M_FORBIDDEN")


async def test_tags_come_and_go(flat: Flat) -> None:
    assert await flat.ask("GET", f"{ROOM}/tags") == (200, {"tags": {}})
    assert await flat.ask("PUT", f"{ROOM}/tags/m.favourite", {"order": 0.25}) == (200, {})
    assert await flat.ask("PUT", f"{ROOM}/tags/u.work", {}) == (200, {})
    assert await flat.ask("DELETE", f"{ROOM}/tags/m.favourite") == (200, {})
    assert await flat.ask("GET", f"{ROOM}/tags") == (200, {"tags": {"u.work": {}}})
    assert await flat.ask("GET", f"{ROOM}/account_data/m.tag") == (200, {"tags": {"u.work": {}}})
