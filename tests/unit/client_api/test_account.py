from typing import Any

import pytest

from relay.household import account_data, accounts, profile
from tests.unit.client_api.conftest import ALICE, PHONE, TABLET, Flat, password_auth
from tests.unit.household.signing import Signer

NEW = "another good password"


async def _login(flat: Flat, password: str, device: str) -> tuple[int, Any]:
    return await flat.ask("POST", "v3/login", password_auth(password=password, device_id=device), token=None)


async def test_another_password_ends_the_other_devices(flat: Flat) -> None:
    _, tablet = await _login(flat, password_auth()["password"], TABLET)
    assert await flat.with_password("POST", "v3/account/password", {"new_password": NEW}) == (200, {})
    assert (await flat.ask("GET", "v3/account/whoami"))[0] == 200
    assert await flat.refused("GET", "v3/account/whoami", token=tablet["access_token"]) == (401, "M_UNKNOWN_TOKEN")
    assert (await _login(flat, password_auth()["password"], TABLET))[0] == 403
    assert (await _login(flat, NEW, TABLET))[0] == 200


async def test_the_other_devices_can_be_kept(flat: Flat) -> None:
    _, tablet = await _login(flat, password_auth()["password"], TABLET)
    body = {"new_password": NEW, "logout_devices": False}
    assert await flat.with_password("POST", "v3/account/password", body) == (200, {})
    assert (await flat.ask("GET", "v3/account/whoami", token=tablet["access_token"]))[0] == 200


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        ({"new_password": "short"}, (400, "M_WEAK_PASSWORD")),
        ({"new_password": 12345678}, (400, "M_BAD_JSON")),
        ({"new_password": NEW, "logout_devices": "no"}, (400, "M_BAD_JSON")),
    ],
)
async def test_a_bad_new_password_is_refused_before_the_old_one_is_asked(
    flat: Flat, body: Any, refusal: tuple[int, str]
) -> None:
    assert await flat.refused("POST", "v3/account/password", body) == refusal


async def test_a_deactivated_account_is_empty(flat: Flat) -> None:
    alices = Signer(ALICE)
    await flat.ask("POST", "v3/keys/upload", {"device_keys": alices.device(PHONE)})
    master = {"master_key": alices.key("master")}
    assert await flat.ask("POST", "v3/keys/device_signing/upload", master) == (200, {})
    await flat.ledger.run(profile.put, ALICE, "displayname", "Alice")
    await flat.ledger.run(account_data.put, ALICE, None, "t", {})
    flat.noted.clear()
    status, answer = await flat.with_password("POST", "v3/account/deactivate", {"erase": True})
    assert (status, answer) == (200, {"id_server_unbind_result": "no-support"})
    assert flat.noted == [(ALICE, PHONE), (ALICE, None)]
    assert flat.left == [ALICE]
    assert not await flat.ledger.read(accounts.is_active, ALICE)
    assert await flat.ledger.read(profile.get, ALICE) == {}
    assert await flat.ledger.read(account_data.get, ALICE, None, "t") is None
    assert await flat.refused("GET", "v3/account/whoami") == (401, "M_UNKNOWN_TOKEN")


async def test_there_are_no_third_party_ids(flat: Flat) -> None:
    assert await flat.ask("GET", "v3/account/3pid") == (200, {"threepids": []})
