from typing import Any

import pytest

from relay.base.errors import ForbiddenError, InvalidParamError, MissingParamError, NotFoundError
from relay.base.ids import DeviceId, UserId
from relay.household import cross_signing, device_keys, devices, key_signatures
from relay.household.cross_signing import Signed
from relay.household.faults import InvalidSignatureError
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB, CAROL, PHONE
from tests.unit.household.signing import Signer

ALICES, BOBS = Signer(ALICE), Signer(BOB)


@pytest.fixture
async def signed_home(home: Ledger) -> Ledger:
    await home.run(cross_signing.upload_keys, ALICE, ALICES.keys())
    await home.run(cross_signing.upload_keys, BOB, BOBS.keys())
    await home.run(device_keys.upload, ALICE, PHONE, ALICES.device(PHONE), {}, {})
    return home


async def _sign(ledger: Ledger, owner: UserId, name: str, obj: dict[str, Any]) -> Signed:
    return await ledger.run(cross_signing.add_signatures, ALICE, {owner: {name: obj}})


async def test_the_first_keys_need_no_password_and_others_do(home: Ledger) -> None:
    keys = ALICES.keys()
    assert not await home.read(cross_signing.needs_authentication, ALICE, keys)
    assert await home.run(cross_signing.upload_keys, ALICE, keys)
    assert not await home.read(cross_signing.needs_authentication, ALICE, keys)
    assert not await home.run(cross_signing.upload_keys, ALICE, keys)
    assert await home.read(cross_signing.needs_authentication, ALICE, Signer(ALICE, "new").keys())
    assert await home.read(cross_signing.needs_authentication, ALICE, {"self_signing": keys["self_signing"]})
    new_user_signing = {**keys, "user_signing": Signer(ALICE, "new").key("user_signing")}
    assert await home.read(cross_signing.needs_authentication, ALICE, new_user_signing)


async def test_the_user_signing_key_is_for_its_owner_only(signed_home: Ledger) -> None:
    assert await signed_home.read(cross_signing.keys_of, ALICE, ALICE) == ALICES.keys()
    for asking in (BOB, None):
        assert set(await signed_home.read(cross_signing.keys_of, ALICE, asking)) == {"master", "self_signing"}


async def test_keys_that_the_master_did_not_sign_are_refused(home: Ledger) -> None:
    stranger = Signer(ALICE, "stranger")
    for usage in ("self_signing", "user_signing"):
        for bad in (stranger.key(usage), {**ALICES.key(usage), "signatures": {}}):
            with pytest.raises(InvalidSignatureError):
                await home.run(cross_signing.upload_keys, ALICE, {"master": ALICES.key("master"), usage: bad})
    with pytest.raises(MissingParamError):
        await home.run(cross_signing.upload_keys, ALICE, {"self_signing": ALICES.key("self_signing")})
    await home.run(cross_signing.upload_keys, ALICE, {"master": ALICES.key("master")})
    assert await home.run(cross_signing.upload_keys, ALICE, {"self_signing": ALICES.key("self_signing")})


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": BOB},
        {"usage": ["self_signing"]},
        {"usage": "master"},
        {"keys": {}},
        {"keys": {"ed25519:a": "b"}},
        {"keys": {"ed25519:a": "a", "ed25519:b": "b"}},
        {"keys": ["x"]},
    ],
)
async def test_malformed_keys_are_refused(home: Ledger, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidParamError):
        await home.run(cross_signing.upload_keys, ALICE, {"master": ALICES.key("master") | change})


async def test_a_key_and_a_device_never_have_the_same_name(home: Ledger) -> None:
    name = DeviceId(ALICES.public("master"))
    await home.run(devices.ensure, ALICE, name, None, 1)
    with pytest.raises(ForbiddenError):
        await home.run(cross_signing.upload_keys, ALICE, ALICES.keys())
    await home.run(devices.delete, ALICE, [name])
    await home.run(cross_signing.upload_keys, ALICE, ALICES.keys())
    with pytest.raises(ForbiddenError):
        await home.run(devices.ensure, ALICE, name, None, 1)


async def test_a_new_master_key_takes_the_old_keys_and_signatures_along(signed_home: Ledger) -> None:
    await _sign(signed_home, ALICE, PHONE, ALICES.sign(ALICES.device(PHONE), "self_signing"))
    new = Signer(ALICE, "new")
    assert await signed_home.run(cross_signing.upload_keys, ALICE, {"master": new.key("master")})
    assert await signed_home.read(cross_signing.keys_of, ALICE, ALICE) == {"master": new.key("master")}
    shown = await signed_home.read(key_signatures.with_signatures, ALICE, PHONE, ALICE, ALICES.device(PHONE))
    assert shown == ALICES.device(PHONE)


async def test_a_device_signed_by_its_owner_is_shown_so_to_everybody(signed_home: Ledger) -> None:
    outcome = await _sign(signed_home, ALICE, PHONE, ALICES.sign(ALICES.device(PHONE), "self_signing"))
    assert (outcome.failures, outcome.own, outcome.others) == ({}, [PHONE], [])
    for asking in (ALICE, BOB, None):
        shown = await signed_home.read(key_signatures.with_signatures, ALICE, PHONE, asking, ALICES.device(PHONE))
        assert set(shown["signatures"][ALICE]) == {f"ed25519:{PHONE}", f"ed25519:{ALICES.public('self_signing')}"}
    again = await _sign(signed_home, ALICE, PHONE, ALICES.sign(ALICES.device(PHONE), "self_signing"))
    assert (again.failures, again.own) == ({}, [])


async def test_the_own_master_key_is_signed_by_a_device(signed_home: Ledger) -> None:
    signed = ALICES.sign(ALICES.key("master"), PHONE, key_id=f"ed25519:{PHONE}")
    outcome = await _sign(signed_home, ALICE, ALICES.public("master"), signed)
    assert (outcome.failures, outcome.own) == ({}, [ALICES.public("master")])
    shown = await signed_home.read(cross_signing.keys_of, ALICE, None)
    assert set(shown["master"]["signatures"][ALICE]) == {f"ed25519:{PHONE}"}


async def test_whom_somebody_verified_is_seen_by_that_person_only(signed_home: Ledger) -> None:
    outcome = await _sign(signed_home, BOB, BOBS.public("master"), ALICES.sign(BOBS.key("master"), "user_signing"))
    assert (outcome.failures, outcome.own, outcome.others) == ({}, [], [BOB])
    assert ALICE in (await signed_home.read(cross_signing.keys_of, BOB, ALICE))["master"]["signatures"]
    assert "signatures" not in (await signed_home.read(cross_signing.keys_of, BOB, BOB))["master"]
    assert "signatures" not in (await signed_home.read(cross_signing.keys_of, BOB, None))["master"]
    assert await signed_home.read(key_signatures.signed_since, ALICE, 0) == {BOB}
    assert await signed_home.read(key_signatures.signed_since, ALICE, signed_home.position) == set()
    assert await signed_home.read(key_signatures.signed_since, BOB, 0) == set()


async def test_signatures_that_do_not_hold_are_named_one_by_one(signed_home: Ledger) -> None:
    device = ALICES.device(PHONE)
    wrong = ALICES.sign(device, "self_signing")
    wrong["signatures"][ALICE] = dict.fromkeys(wrong["signatures"][ALICE], "A" * 86)
    cases: list[tuple[UserId, str, Any, type[Exception]]] = [
        (ALICE, PHONE, wrong, Exception),
        (ALICE, PHONE, ALICES.sign({**device, "algorithms": []}, "self_signing"), InvalidSignatureError),
        (ALICE, PHONE, ALICES.sign(device, "user_signing"), InvalidSignatureError),
        (ALICE, PHONE, {**device, "signatures": {}}, InvalidSignatureError),
        (ALICE, PHONE, "text", InvalidSignatureError),
        (ALICE, "NONE", device, NotFoundError),
        (BOB, PHONE, device, NotFoundError),
        (BOB, BOBS.public("master"), ALICES.sign(BOBS.key("master"), "self_signing"), InvalidSignatureError),
        (CAROL, "key", {}, NotFoundError),
    ]
    for owner, name, obj, expected in cases:
        outcome = await _sign(signed_home, owner, name, obj)
        assert isinstance(outcome.failures[owner][name], expected)
        assert not outcome.own
        assert not outcome.others


async def test_a_good_signature_is_kept_beside_a_bad_one(signed_home: Ledger) -> None:
    outcome = await signed_home.run(
        cross_signing.add_signatures,
        ALICE,
        {ALICE: {PHONE: ALICES.sign(ALICES.device(PHONE), "self_signing"), "NONE": {}}},
    )
    assert outcome.own == [PHONE]
    assert set(outcome.failures[ALICE]) == {"NONE"}


async def test_keys_of_a_closed_account_are_gone(signed_home: Ledger) -> None:
    assert await signed_home.run(cross_signing.erase, ALICE)
    assert await signed_home.read(cross_signing.keys_of, ALICE, ALICE) == {}
    assert not await signed_home.run(cross_signing.erase, ALICE)


async def test_what_another_server_says_is_kept_where_it_is_well_formed(home: Ledger) -> None:
    carols = Signer(CAROL)
    assert await home.run(cross_signing.store_remote, CAROL, {"master": carols.key("master"), "self_signing": {}})
    assert not await home.run(cross_signing.store_remote, CAROL, {"master": carols.key("master")})
    assert await home.read(cross_signing.keys_of, CAROL, ALICE) == {"master": carols.key("master")}
