from typing import Any
from urllib.parse import quote

import pytest

from relay.base.limits import MAX_BACKUP_KEYS_PER_CHANGE
from tests.unit.client_api.conftest import BOB, PHONE, Flat

VERSION, KEYS = "v3/room_keys/version", "v3/room_keys/keys"
ROOM, OTHER = "!a:box.test", "!b:box.test"
IN_ROOM, ONE = f"{KEYS}/{quote(ROOM)}?version=1", f"{KEYS}/{quote(ROOM)}/s%2F1?version=1"
BACKUP = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "p"}}


def key(first: int = 0) -> dict[str, Any]:
    return {"first_message_index": first, "forwarded_count": 0, "is_verified": False, "session_data": {"c": "x"}}


@pytest.fixture
async def backed_up(flat: Flat) -> Flat:
    assert await flat.ask("POST", VERSION, BACKUP) == (200, {"version": "1"})
    return flat


async def test_a_backup_is_made_read_changed_and_deleted(flat: Flat) -> None:
    assert await flat.refused("GET", VERSION) == (404, "M_NOT_FOUND")
    await flat.ask("POST", VERSION, BACKUP)
    shown = {**BACKUP, "version": "1", "etag": "0", "count": 0}
    assert await flat.ask("GET", VERSION) == await flat.ask("GET", f"{VERSION}/1") == (200, shown)
    changed = {**BACKUP, "auth_data": {"new": 1}, "version": "1"}
    assert await flat.ask("PUT", f"{VERSION}/1", changed) == (200, {})
    assert (await flat.ask("GET", VERSION))[1]["auth_data"] == {"new": 1}
    for _ in range(2):
        assert await flat.ask("DELETE", f"{VERSION}/1") == (200, {})
    assert await flat.refused("GET", f"{VERSION}/1") == (404, "M_NOT_FOUND")
    assert await flat.refused("DELETE", f"{VERSION}/2") == (404, "M_NOT_FOUND")


async def test_keys_are_stored_and_read_at_every_level(backed_up: Flat) -> None:
    assert await backed_up.ask("PUT", ONE, key(5)) == (200, {"etag": "1", "count": 1})
    assert await backed_up.ask("PUT", IN_ROOM, {"sessions": {"s/1": key(3)}}) == (200, {"etag": "2", "count": 1})
    body = {"rooms": {ROOM: {"sessions": {"s/1": key(9)}}, OTHER: {"sessions": {"t": key()}}}}
    assert await backed_up.ask("PUT", f"{KEYS}?version=1", body) == (200, {"etag": "3", "count": 2})
    assert await backed_up.ask("GET", ONE) == (200, key(3))
    assert await backed_up.ask("GET", IN_ROOM) == (200, {"sessions": {"s/1": key(3)}})
    everything = {"rooms": {ROOM: {"sessions": {"s/1": key(3)}}, OTHER: {"sessions": {"t": key()}}}}
    assert await backed_up.ask("GET", f"{KEYS}?version=1") == (200, everything)
    assert await backed_up.ask("DELETE", ONE) == (200, {"etag": "4", "count": 1})
    assert await backed_up.refused("GET", ONE) == (404, "M_NOT_FOUND")
    assert await backed_up.ask("GET", IN_ROOM) == (200, {"sessions": {}})
    assert await backed_up.ask("DELETE", f"{KEYS}?version=1") == (200, {"etag": "5", "count": 0})
    assert await backed_up.ask("GET", f"{KEYS}?version=1") == (200, {"rooms": {}})


async def test_a_long_history_is_stored_in_pieces(backed_up: Flat) -> None:
    count = 2 * MAX_BACKUP_KEYS_PER_CHANGE + 1
    body = {"sessions": {f"s{number}": key() for number in range(count)}}
    assert await backed_up.ask("PUT", IN_ROOM, body) == (200, {"etag": "3", "count": count})
    _, stored = await backed_up.ask("GET", IN_ROOM)
    assert len(stored["sessions"]) == count


async def test_only_the_newest_version_takes_keys(backed_up: Flat) -> None:
    await backed_up.ask("POST", VERSION, BACKUP)
    for path, body in [(ONE, key()), (IN_ROOM, {"sessions": {}}), (f"{KEYS}?version=1", {"rooms": {}})]:
        status, answer = await backed_up.ask("PUT", path, body)
        assert (status, answer["errcode"], answer["current_version"]) == (403, "M_WRONG_ROOM_KEYS_VERSION", "2")


async def test_a_backup_is_its_owners_alone(backed_up: Flat) -> None:
    await backed_up.ask("PUT", ONE, key())
    for method, path in [("GET", ONE), ("GET", IN_ROOM), ("DELETE", ONE), ("GET", f"{VERSION}/1")]:
        assert await backed_up.refused(method, path, token=f"{BOB} {PHONE}") == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("POST", VERSION, {"algorithm": "a"}, (400, "M_MISSING_PARAM")),
        ("POST", VERSION, {"algorithm": "a", "auth_data": []}, (400, "M_BAD_JSON")),
        ("PUT", f"{VERSION}/1", BACKUP | {"algorithm": "other"}, (400, "M_INVALID_PARAM")),
        ("PUT", f"{VERSION}/1", BACKUP | {"version": "2"}, (400, "M_INVALID_PARAM")),
        ("PUT", f"{VERSION}/2", BACKUP, (404, "M_NOT_FOUND")),
        ("PUT", KEYS, {"rooms": {}}, (400, "M_MISSING_PARAM")),
        ("PUT", IN_ROOM, {}, (400, "M_MISSING_PARAM")),
        ("PUT", IN_ROOM, {"sessions": {"s": 5}}, (400, "M_BAD_JSON")),
        ("PUT", f"{KEYS}?version=1", {"rooms": {"room": {"sessions": {}}}}, (400, "M_BAD_JSON")),
        ("PUT", f"{KEYS}?version=1", {"rooms": {ROOM: 5}}, (400, "M_BAD_JSON")),
        ("PUT", ONE, {**key(), "session_data": None}, (400, "M_MISSING_PARAM")),
        ("PUT", ONE, {**key(), "is_verified": "no"}, (400, "M_INVALID_PARAM")),
        ("PUT", ONE, b"-", (400, "M_NOT_JSON")),
        ("GET", KEYS, None, (400, "M_MISSING_PARAM")),
        ("GET", f"{KEYS}?version=7", None, (404, "M_NOT_FOUND")),
    ],
)
async def test_malformed_requests_are_refused_by_name(
    backed_up: Flat, method: str, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    assert await backed_up.refused(method, path, body) == refusal
