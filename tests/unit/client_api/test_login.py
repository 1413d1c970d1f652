from typing import Any

import pytest

from relay.base.limits import ACCESS_TOKEN_LIFE_MS
from relay.household import accounts
from tests.unit.client_api.conftest import ALICE, BOB, PASSWORD, PHONE, START_MS, Flat, password_auth


async def _login(flat: Flat, **more: Any) -> tuple[int, Any]:
    return await flat.ask("POST", "v3/login", password_auth() | more, token=None)


async def test_the_password_is_the_way_in(flat: Flat) -> None:
    assert await flat.ask("GET", "v3/login", token=None) == (200, {"flows": [{"type": "m.login.password"}]})
    status, answer = await _login(flat, initial_device_display_name="new one")
    assert (status, answer["user_id"], set(answer)) == (200, ALICE, {"user_id", "device_id", "access_token"})
    status, me = await flat.ask("GET", "v3/account/whoami", token=answer["access_token"])
    assert (status, me) == (200, {"user_id": ALICE, "device_id": answer["device_id"], "is_guest": False})
    _, device = await flat.ask("GET", f"v3/devices/{answer['device_id']}")
    assert device["display_name"] == "new one"


@pytest.mark.parametrize("name", ["alice", "Alice", ALICE])
async def test_a_name_is_enough_and_so_is_the_old_way_to_give_it(flat: Flat, name: str) -> None:
    old = {"type": "m.login.password", "user": name, "password": PASSWORD, "device_id": PHONE}
    status, answer = await flat.ask("POST", "r0/login", old, token=None)
    assert (status, answer["user_id"], answer["device_id"]) == (200, ALICE, PHONE)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        (b"{", (400, "M_NOT_JSON")),
        (b"[]", (400, "M_BAD_JSON")),
        ({"type": "m.login.token"}, (400, "M_UNKNOWN")),
        ({"type": 5}, (400, "M_BAD_JSON")),
        ({"type": "m.login.password"}, (400, "M_MISSING_PARAM")),
        (password_auth() | {"identifier": "alice"}, (400, "M_BAD_JSON")),
        (password_auth() | {"identifier": {"type": "m.id.thirdparty"}}, (400, "M_UNKNOWN")),
        (password_auth() | {"password": None}, (400, "M_MISSING_PARAM")),
        (password_auth() | {"password": 5}, (400, "M_BAD_JSON")),
        (password_auth() | {"device_id": "x" * 256}, (400, "M_INVALID_PARAM")),
        (password_auth() | {"device_id": "a\nb"}, (400, "M_INVALID_PARAM")),
        (password_auth() | {"refresh_token": "yes"}, (400, "M_BAD_JSON")),
        (password_auth(password="wrong"), (403, "M_FORBIDDEN")),
        (password_auth("nobody"), (403, "M_FORBIDDEN")),
        (password_auth("@alice:other.test"), (403, "M_FORBIDDEN")),
        (password_auth("no spaces please"), (403, "M_FORBIDDEN")),
    ],
)
async def test_everything_else_is_refused_by_name(flat: Flat, body: Any, refusal: tuple[int, str]) -> None:
    assert await flat.refused("POST", "v3/login", body, token=None) == refusal


async def test_a_closed_account_is_closed(flat: Flat) -> None:
    await flat.ledger.run(accounts.deactivate, BOB, START_MS)
    assert await flat.refused("POST", "v3/login", password_auth(BOB), token=None) == (403, "M_FORBIDDEN")


async def test_guessing_is_slowed_down_for_the_account_and_the_address(flat: Flat) -> None:
    for number in range(5):
        body = password_auth(password=f"guess {number}")
        assert await flat.refused("POST", "v3/login", body, token=None, address=f"a{number}") == (403, "M_FORBIDDEN")
    status, answer = await flat.ask("POST", "v3/login", password_auth(), token=None, address="b")
    assert (status, answer["errcode"], answer["retry_after_ms"]) == (429, "M_LIMIT_EXCEEDED", 10_000)
    flat.now_s = 10.01
    assert (await flat.ask("POST", "v3/login", password_auth(), token=None, address="b"))[0] == 200


async def test_tokens_that_expire_can_be_refreshed(flat: Flat) -> None:
    _, first = await _login(flat, refresh_token=True)
    assert first["expires_in_ms"] == ACCESS_TOKEN_LIFE_MS
    flat.clock.now_ms += ACCESS_TOKEN_LIFE_MS
    status, refused = await flat.ask("GET", "v3/account/whoami", token=first["access_token"])
    assert (status, refused["errcode"], refused["soft_logout"]) == (401, "M_UNKNOWN_TOKEN", True)
    status, second = await flat.ask("POST", "v3/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    assert (status, set(second)) == (200, {"access_token", "refresh_token", "expires_in_ms"})
    assert (await flat.ask("GET", "v3/account/whoami", token=second["access_token"]))[0] == 200
    status, refused = await flat.ask("POST", "v3/refresh", {"refresh_token": first["refresh_token"]}, token=None)
    assert (status, refused["errcode"], refused["soft_logout"]) == (401, "M_UNKNOWN_TOKEN", False)
    assert await flat.refused("POST", "v3/refresh", {}, token=None) == (400, "M_MISSING_PARAM")


async def test_logout_ends_one_device_or_all(flat: Flat) -> None:
    _, tablet = await _login(flat)
    await flat.ask("POST", "v3/keys/upload", {"device_keys": _identity(PHONE)})
    flat.noted.clear()
    assert await flat.ask("POST", "v3/logout", {}) == (200, {})
    assert flat.noted == [(ALICE, PHONE)]
    status, refused = await flat.ask("GET", "v3/account/whoami")
    assert (status, refused["errcode"], refused["soft_logout"]) == (401, "M_UNKNOWN_TOKEN", False)
    assert await flat.ask("POST", "v3/logout/all", {}, token=tablet["access_token"]) == (200, {})
    assert await flat.refused("GET", "v3/devices", token=tablet["access_token"]) == (401, "M_UNKNOWN_TOKEN")
    assert await flat.refused("GET", "v3/devices", token=None) == (401, "M_MISSING_TOKEN")


def _identity(device: str) -> dict[str, Any]:
    keys = {f"ed25519:{device}": "k"}
    return {"user_id": ALICE, "device_id": device, "algorithms": [], "keys": keys, "signatures": {}}
