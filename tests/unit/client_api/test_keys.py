from typing import Any

import pytest
import trio

from relay.base.limits import MAX_ONE_TIME_KEYS_PER_UPLOAD
from tests.unit.client_api.conftest import ALICE, BOB, CAROL, PHONE, Flat
from tests.unit.household.signing import Signer

CURVE = "signed_curve25519"
BOBS = f"{BOB} {PHONE}"


def one_time(*names: str) -> dict[str, Any]:
    return {f"{CURVE}:{name}": {"key": name} for name in names}


async def test_keys_are_uploaded_told_and_found(flat: Flat) -> None:
    device = Signer(ALICE).device(PHONE)
    body = {"device_keys": device, "one_time_keys": one_time("a", "b"), "fallback_keys": one_time("f")}
    assert await flat.ask("POST", "v3/keys/upload", body) == (200, {"one_time_key_counts": {CURVE: 2}})
    assert flat.noted == [(ALICE, PHONE)]
    assert await flat.ask("POST", "v3/keys/upload", {}) == (200, {"one_time_key_counts": {CURVE: 2}})
    assert (await flat.ask("POST", "v3/keys/upload", {"device_keys": device}))[0] == 200
    assert flat.noted == [(ALICE, PHONE)]
    status, answer = await flat.ask("POST", "v3/keys/query", {"device_keys": {ALICE: []}}, token=BOBS)
    shown = {**device, "unsigned": {"device_display_name": "the phone"}}
    assert (status, answer["device_keys"], answer["failures"]) == (200, {ALICE: {PHONE: shown}}, {})


async def test_fifty_apps_at_once_never_claim_the_same_key(flat: Flat) -> None:
    names = [f"K{number}" for number in range(45)]
    body = {"one_time_keys": one_time(*names), "fallback_keys": one_time("F")}
    await flat.ask("POST", "v3/keys/upload", body)
    given: list[str] = []

    async def claim() -> None:
        wanted = {"one_time_keys": {ALICE: {PHONE: CURVE}}}
        _, answer = await flat.ask("POST", "v3/keys/claim", wanted, token=BOBS)
        given.extend(answer["one_time_keys"][ALICE][PHONE])

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(claim)
    assert sorted(given) == sorted([*one_time(*names), *[f"{CURVE}:F"] * 5])


async def test_people_elsewhere_are_asked_for_and_silence_is_a_failure(flat: Flat) -> None:
    flat.peers.down.add("far.test")
    for path, body in [
        ("v3/keys/query", {"device_keys": {CAROL: []}, "timeout": 50}),
        ("v3/keys/claim", {"one_time_keys": {CAROL: {PHONE: CURVE}}}),
    ]:
        status, answer = await flat.ask("POST", path, body)
        assert (status, set(answer["failures"])) == (200, {"far.test"})


async def test_changes_are_asked_between_two_tokens(flat: Flat) -> None:
    assert await flat.ask("GET", "v3/keys/changes?from=s1&to=s2") == (200, {"changed": [ALICE], "left": ["s1", "s2"]})
    assert await flat.refused("GET", "v3/keys/changes?from=s1") == (400, "M_MISSING_PARAM")


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        ("upload", {"device_keys": "x"}, (400, "M_BAD_JSON")),
        ("upload", {"device_keys": {"user_id": BOB}}, (400, "M_INVALID_PARAM")),
        ("upload", {"one_time_keys": []}, (400, "M_BAD_JSON")),
        ("upload", {"one_time_keys": {"x": {}}}, (400, "M_INVALID_PARAM")),
        ("upload", {"fallback_keys": {"a:b": 1}}, (400, "M_INVALID_PARAM")),
        (
            "upload",
            {"one_time_keys": one_time(*map(str, range(MAX_ONE_TIME_KEYS_PER_UPLOAD + 1)))},
            (413, "M_TOO_LARGE"),
        ),
        ("upload", b"{]", (400, "M_NOT_JSON")),
        ("query", {}, (400, "M_MISSING_PARAM")),
        ("query", {"device_keys": []}, (400, "M_BAD_JSON")),
        ("query", {"device_keys": {ALICE: {}}}, (400, "M_BAD_JSON")),
        ("query", {"device_keys": {ALICE: [5]}}, (400, "M_BAD_JSON")),
        ("query", {"device_keys": {"alice": []}}, (400, "M_BAD_JSON")),
        ("query", {"device_keys": {}, "timeout": "long"}, (400, "M_BAD_JSON")),
        ("claim", {}, (400, "M_MISSING_PARAM")),
        ("claim", {"one_time_keys": {ALICE: [PHONE]}}, (400, "M_BAD_JSON")),
        ("claim", {"one_time_keys": {ALICE: {PHONE: 5}}}, (400, "M_BAD_JSON")),
    ],
)
async def test_malformed_requests_are_refused_by_name(
    flat: Flat, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    assert await flat.refused("POST", f"v3/keys/{path}", body) == refusal
