"""Whatever JSON comes, no endpoint of the household breaks: every answer is a success or a named refusal."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.household.tables import TABLES
from tests.fakes.ledger import memory_ledger
from tests.unit.client_api.conftest import ALICE, BOB, CAROL, PHONE, Flat, _move_in, password_auth
from tests.unit.household.signing import Signer

ALICES = Signer(ALICE)
USER = f"v3/user/{ALICE}"
ENDPOINTS = [
    ("POST", "v3/login"),
    ("POST", "v3/refresh"),
    ("POST", "v3/register"),
    ("POST", "v3/account/password"),
    ("POST", "v3/account/deactivate"),
    ("POST", "v3/delete_devices"),
    ("PUT", f"v3/devices/{PHONE}"),
    ("DELETE", f"v3/devices/{PHONE}"),
    ("POST", "v3/keys/upload"),
    ("POST", "v3/keys/query"),
    ("POST", "v3/keys/claim"),
    ("POST", "v3/keys/device_signing/upload"),
    ("POST", "v3/keys/signatures/upload"),
    ("POST", "v3/room_keys/version"),
    ("PUT", "v3/room_keys/version/1"),
    ("PUT", "v3/room_keys/keys?version=1"),
    ("PUT", "v3/room_keys/keys/!a:b?version=1"),
    ("PUT", "v3/room_keys/keys/!a:b/s?version=1"),
    ("PUT", f"{USER}/account_data/m.tag"),
    ("PUT", f"{USER}/rooms/!a:b/account_data/m.tag"),
    ("PUT", f"{USER}/rooms/!a:b/tags/u.x"),
    ("POST", f"{USER}/filter"),
    ("PUT", f"v3/profile/{ALICE}/displayname"),
    ("PUT", f"v3/profile/{ALICE}/a.b"),
    ("PUT", "v3/pushrules/global/override/x"),
    ("PUT", "v3/pushrules/global/content/x/actions"),
    ("PUT", "v3/pushrules/global/underride/.m.rule.message/enabled"),
]
NAMES = st.sampled_from(
    [
        *(
            "type",
            "identifier",
            "user",
            "password",
            "device_id",
            "refresh_token",
            "username",
            "auth",
            "session",
            "token",
        ),
        *(
            "new_password",
            "logout_devices",
            "erase",
            "devices",
            "display_name",
            "displayname",
            "device_keys",
            "algorithms",
        ),
        *("one_time_keys", "fallback_keys", "keys", "user_id", "usage", "signatures", "master_key", "self_signing_key"),
        *("algorithm", "auth_data", "version", "rooms", "sessions", "first_message_index", "forwarded_count"),
        *("is_verified", "session_data", "tags", "order", "room", "a.b", "actions", "conditions", "enabled", "pattern"),
        *(ALICE, BOB, CAROL, PHONE, "!a:b", "timeout", "s", f"ed25519:{PHONE}", "c:id", ALICES.public("master")),
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.sampled_from([2**63, -(2**63) - 1, 2**64, 2**70]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from([ALICE, PHONE, "alice", "m.login.password", "m.id.user", "master", "1", "m.notice", "long enough"]),
    st.sampled_from([ALICES.key("master"), ALICES.device(PHONE), password_auth()]),
)
BODIES = st.dictionaries(
    NAMES,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)),
    max_size=5,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(requests=st.lists(st.tuples(st.sampled_from(ENDPOINTS), BODIES), min_size=1, max_size=12))
async def test_no_body_breaks_an_endpoint(requests: list[tuple[tuple[str, str], dict[str, Any]]]) -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(_move_in)
        flat = Flat(ledger)
        await flat.ask("POST", "v3/room_keys/version", {"algorithm": "a", "auth_data": {}})
        for number, ((method, path), body) in enumerate(requests):
            # Another address each time: being slowed down would hide what comes after.
            status, answer = await flat.ask(method, path, json.dumps(body).encode(), address=f"10.0.0.{number}")
            assert status < 500, (method, path, answer)
            assert status < 400 or "errcode" in answer or "flows" in answer
        for path in ("v3/pushrules/", "v3/room_keys/keys?version=1", f"{USER}/rooms/!a:b/tags", f"v3/profile/{ALICE}"):
            status, _ = await flat.ask("GET", path)
            assert status < 500
