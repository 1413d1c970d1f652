from typing import Any

import pytest

from tests.unit.client_api.conftest import ALICE, BOB, PHONE, START_MS, Flat, password_auth
from tests.unit.household.signing import Signer


async def _add(flat: Flat, *names: str) -> dict[str, str]:
    tokens = {}
    for name in names:
        _, answer = await flat.ask("POST", "v3/login", password_auth(device_id=name), token=None)
        tokens[name] = answer["access_token"]
        device_keys = Signer(ALICE).device(name)  # type: ignore[arg-type]
        await flat.ask("POST", "v3/keys/upload", {"device_keys": device_keys}, token=tokens[name])
    flat.noted.clear()
    return tokens


async def test_devices_are_listed_and_named(flat: Flat) -> None:
    phone = {"device_id": PHONE, "display_name": "the phone", "last_seen_ip": None, "last_seen_ts": START_MS}
    assert await flat.ask("GET", "v3/devices") == (200, {"devices": [phone]})
    assert await flat.ask("PUT", f"v3/devices/{PHONE}", {"display_name": "mine"}) == (200, {})
    assert await flat.ask("PUT", f"v3/devices/{PHONE}", {}) == (200, {})
    assert await flat.ask("GET", f"v3/devices/{PHONE}") == (200, phone | {"display_name": "mine"})


async def test_an_unknown_device_is_not_found(flat: Flat) -> None:
    await _add(flat, "TABLET")
    for method, body in [("GET", None), ("PUT", {"display_name": "x"}), ("PUT", {})]:
        refusal = await flat.refused(method, "v3/devices/TABLET", body, token=f"{BOB} {PHONE}")
        assert refusal == (404, "M_NOT_FOUND")
    assert await flat.refused("PUT", f"v3/devices/{PHONE}", {"display_name": 5}) == (400, "M_BAD_JSON")


async def test_a_device_is_deleted_with_the_password(flat: Flat) -> None:
    tokens = await _add(flat, "TABLET")
    assert await flat.with_password("DELETE", "v3/devices/TABLET", {}) == (200, {})
    assert flat.noted == [(ALICE, "TABLET")]
    assert await flat.refused("GET", "v3/devices", token=tokens["TABLET"]) == (401, "M_UNKNOWN_TOKEN")
    assert await flat.with_password("DELETE", "v3/devices/TABLET", {}) == (200, {})
    assert len(flat.noted) == 1


async def test_several_devices_are_deleted_at_once(flat: Flat) -> None:
    await _add(flat, "A", "B", "C")
    assert await flat.with_password("POST", "v3/delete_devices", {"devices": ["A", "C", "NONE"]}) == (200, {})
    assert flat.noted == [(ALICE, "A"), (ALICE, "C")]
    _, answer = await flat.ask("GET", "v3/devices")
    assert [device["device_id"] for device in answer["devices"]] == ["B", PHONE]


@pytest.mark.parametrize(
    ("body", "errcode"), [({}, "M_MISSING_PARAM"), ({"devices": "A"}, "M_BAD_JSON"), ({"devices": [5]}, "M_BAD_JSON")]
)
async def test_a_malformed_list_deletes_nothing(flat: Flat, body: Any, errcode: str) -> None:
    assert await flat.refused("POST", "v3/delete_devices", body) == (400, errcode)
