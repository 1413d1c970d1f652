from typing import Any

import pytest

from relay.base.limits import MAX_SIGNATURES_PER_UPLOAD
from tests.unit.client_api.conftest import ALICE, BOB, CAROL, PHONE, Flat
from tests.unit.household.signing import Signer

UPLOAD, SIGN = "v3/keys/device_signing/upload", "v3/keys/signatures/upload"
ALICES, BOBS, CAROLS = Signer(ALICE), Signer(BOB), Signer(CAROL)


def body_of(signer: Signer) -> dict[str, Any]:
    return {f"{usage}_key": key for usage, key in signer.keys().items()}


@pytest.fixture
async def signed(flat: Flat) -> Flat:
    assert await flat.ask("POST", UPLOAD, body_of(ALICES)) == (200, {})
    assert await flat.ask("POST", UPLOAD, body_of(BOBS), token=f"{BOB} {PHONE}") == (200, {})
    await flat.ask("POST", "v3/keys/upload", {"device_keys": ALICES.device(PHONE)})
    flat.noted.clear()
    return flat


async def test_the_first_upload_needs_no_password_and_again_is_the_same(flat: Flat) -> None:
    for _ in range(2):
        assert await flat.ask("POST", UPLOAD, body_of(ALICES)) == (200, {})
    assert flat.noted == [(ALICE, None)]


async def test_other_keys_need_the_password(signed: Flat) -> None:
    new = Signer(ALICE, "new")
    assert await signed.with_password("POST", UPLOAD, body_of(new)) == (200, {})
    assert signed.noted == [(ALICE, None)]
    _, answer = await signed.ask("POST", "v3/keys/query", {"device_keys": {ALICE: []}})
    assert answer["master_keys"] == {ALICE: new.key("master")}
    assert answer["user_signing_keys"] == {ALICE: new.key("user_signing")}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        ({"master_key": "x"}, (400, "M_BAD_JSON")),
        ({"master_key": BOBS.key("master")}, (400, "M_INVALID_PARAM")),
        ({"self_signing_key": ALICES.key("self_signing")}, (400, "M_MISSING_PARAM")),
        (
            {"master_key": ALICES.key("master"), "self_signing_key": Signer(ALICE, "x").key("self_signing")},
            (400, "M_INVALID_SIGNATURE"),
        ),
    ],
)
async def test_bad_keys_are_refused_by_name(flat: Flat, body: Any, refusal: tuple[int, str]) -> None:
    assert await flat.refused("POST", UPLOAD, body) == refusal


async def test_a_key_named_like_a_device_is_forbidden(flat: Flat) -> None:
    name = ALICES.public("master")
    login = {"type": "m.login.password", "user": "alice", "password": "correct horse battery", "device_id": name}
    assert (await flat.ask("POST", "v3/login", login, token=None))[0] == 200
    assert await flat.refused("POST", UPLOAD, body_of(ALICES)) == (403, "M_FORBIDDEN")


async def test_signatures_are_taken_told_and_shown(signed: Flat) -> None:
    body = {
        ALICE: {
            PHONE: ALICES.sign(ALICES.device(PHONE), "self_signing"),
            ALICES.public("master"): ALICES.sign(ALICES.key("master"), PHONE, key_id=f"ed25519:{PHONE}"),
        },
        BOB: {BOBS.public("master"): ALICES.sign(BOBS.key("master"), "user_signing")},
    }
    assert await signed.ask("POST", SIGN, body) == (200, {"failures": {}})
    assert signed.noted == [(ALICE, PHONE), (ALICE, None)]
    _, answer = await signed.ask("POST", "v3/keys/query", {"device_keys": {ALICE: [], BOB: []}})
    assert f"ed25519:{ALICES.public('self_signing')}" in answer["device_keys"][ALICE][PHONE]["signatures"][ALICE]
    assert f"ed25519:{PHONE}" in answer["master_keys"][ALICE]["signatures"][ALICE]
    assert ALICE in answer["master_keys"][BOB]["signatures"]


async def test_somebody_elsewhere_can_be_verified(signed: Flat) -> None:
    signed.peers.devices[CAROL] = {"stream_id": 1, "devices": [], "master_key": CAROLS.key("master")}
    body = {CAROL: {CAROLS.public("master"): ALICES.sign(CAROLS.key("master"), "user_signing")}}
    assert await signed.ask("POST", SIGN, body) == (200, {"failures": {}})
    _, answer = await signed.ask("POST", "v3/keys/query", {"device_keys": {CAROL: []}})
    assert ALICE in answer["master_keys"][CAROL]["signatures"]


async def test_each_bad_signature_is_named(signed: Flat) -> None:
    body = {ALICE: {PHONE: ALICES.sign(ALICES.device(PHONE), "user_signing"), "NONE": ALICES.device(PHONE)}}
    status, answer = await signed.ask("POST", SIGN, body)
    assert status == 200
    failures = {name: error["errcode"] for name, error in answer["failures"][ALICE].items()}
    assert failures == {PHONE: "M_INVALID_SIGNATURE", "NONE": "M_NOT_FOUND"}
    assert signed.noted == []


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({ALICE: []}, (400, "M_BAD_JSON")),
        ({"alice": {}}, (400, "M_BAD_JSON")),
        ({ALICE: {str(number): {} for number in range(MAX_SIGNATURES_PER_UPLOAD + 1)}}, (413, "M_TOO_LARGE")),
    ],
)
async def test_malformed_uploads_are_refused(signed: Flat, body: Any, refusal: tuple[int, str]) -> None:
    assert await signed.refused("POST", SIGN, body) == refusal
