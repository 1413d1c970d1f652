from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.base.errors import InvalidInputError, RelayError
from relay.base.ids import KeyId, ServerName
from relay.base.limits import MAX_PUBLISHED_KEYS, SERVER_KEYS_RETRY_S
from relay.core.matrix import unpadded_base64
from relay.core.matrix.signing import SigningKey, generate, sign_json
from relay.rooms.matrix import signing_key
from relay.rooms.matrix.server_keys import read_key_object
from tests.fakes.boxes import Town
from tests.fakes.files import MemoryFiles

NAME = ServerName("b.example")
KEY = generate(b"k" * 32, "one")
OLD = generate(b"o" * 32, "old")


def _published(**changes: Any) -> dict[str, Any]:
    entry = {"key": unpadded_base64.encode(KEY.public)}
    old = {"key": unpadded_base64.encode(OLD.public), "expired_ts": 500}
    plain = {
        "server_name": NAME,
        "valid_until_ts": 1000,
        "verify_keys": {KEY.key_id: entry},
        "old_verify_keys": {OLD.key_id: old},
    }
    return sign_json({**plain, **changes}, NAME, KEY)


def test_a_key_object_gives_current_and_old_keys_with_their_ends() -> None:
    assert read_key_object(_published(), NAME) == {
        KEY.key_id: (KEY.public, 1000, False),
        OLD.key_id: (OLD.public, 500, True),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"server_name": "c.example"},
        {"valid_until_ts": "soon"},
        {"verify_keys": []},
        {"verify_keys": {}},
        {"verify_keys": {KEY.key_id: {"key": "AAAA"}}},
        {"verify_keys": {KEY.key_id: {"key": unpadded_base64.encode(OLD.public)}}},
        {"old_verify_keys": {f"ed25519:{number}": {} for number in range(MAX_PUBLISHED_KEYS)}},
    ],
)
def test_a_key_object_that_does_not_hold_together_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RelayError):
        read_key_object(_published(**changes), NAME)


def test_a_changed_key_object_is_refused() -> None:
    with pytest.raises(RelayError):
        read_key_object({**_published(), "valid_until_ts": 9999}, NAME)
    with pytest.raises(InvalidInputError):
        read_key_object({}, NAME)


async def test_keys_are_fetched_once_and_kept_over_a_restart() -> None:
    town, files = Town(), MemoryFiles()
    async with town.box("b.example") as there:
        for _ in range(2):
            async with town.box("a.example", files) as here:
                found = await here.keys.keys_for(there.name, [there.key.key_id], town.clock.now_ms)
                assert bytes(found[there.key.key_id]) == there.key.public
        assert town.calls == ["server_keys"]
    files.unregister()


async def test_a_silent_server_is_not_asked_again_at_once(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.box("a.example") as here:
        for _ in range(3):
            assert await here.keys.keys_for(ServerName("gone.example"), [KeyId("ed25519:x")], 1) == {}
        assert town.calls == ["server_keys"]
        await trio.sleep(SERVER_KEYS_RETRY_S + 1)
        await here.keys.keys_for(ServerName("gone.example"), [KeyId("ed25519:x")], 1)
        assert town.calls == ["server_keys"] * 2


async def test_a_key_does_not_vouch_for_what_was_made_after_its_end() -> None:
    town = Town()
    async with town.box("a.example") as here, town.box("b.example") as there:
        ids = [there.key.key_id]
        assert await here.keys.keys_for(there.name, ids, town.clock.now_ms)
        assert await here.keys.keys_for(there.name, ids, town.clock.now_ms + 10 * 86_400_000) == {}
        assert await here.keys.keys_for(there.name, ids, town.clock.now_ms)


async def test_own_keys_are_known_without_asking_and_old_ones_vouch_for_the_past_only() -> None:
    town = Town()
    async with town.box("a.example") as here:
        old = here.key
        made_ms = town.clock.now_ms
        new = await signing_key.own_key(here.ledger, made_ms + 5000, max_age_ms=0)
        assert isinstance(new, SigningKey)
        ids = [old.key_id, new.key_id]
        assert set(await here.keys.keys_for(here.name, ids, made_ms + 4000)) == set(ids)
        assert set(await here.keys.keys_for(here.name, ids, made_ms + 6000)) == {new.key_id}
        assert [(key.key_id, end) for key, end in await here.ledger.read(signing_key.old_keys)] == [
            (old.key_id, made_ms + 5000)
        ]
        assert (await signing_key.own_key(here.ledger, 1)).key_id == new.key_id
        assert town.calls == []
