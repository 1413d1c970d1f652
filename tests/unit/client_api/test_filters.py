from typing import Any

import pytest

from tests.unit.client_api.conftest import ALICE, BOB, Flat

PATH = f"v3/user/{ALICE}/filter"


async def test_a_filter_is_stored_and_read(flat: Flat) -> None:
    content = {"room": {"timeline": {"limit": 10}}}
    status, answer = await flat.ask("POST", PATH, content)
    assert status == 200
    assert not answer["filter_id"].startswith("{")
    assert await flat.ask("GET", f"{PATH}/{answer['filter_id']}") == (200, content)


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("POST", f"v3/user/{BOB}/filter", {}, (403, "M_FORBIDDEN")),
        ("GET", f"v3/user/{BOB}/filter/1", None, (403, "M_FORBIDDEN")),
        ("GET", f"{PATH}/99", None, (404, "M_NOT_FOUND")),
        ("POST", PATH, {"room": []}, (400, "M_BAD_JSON")),
        ("POST", PATH, b"x", (400, "M_NOT_JSON")),
    ],
)
async def test_bad_requests_are_refused_by_name(
    flat: Flat, method: str, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    assert await flat.refused(method, path, body) == refusal
