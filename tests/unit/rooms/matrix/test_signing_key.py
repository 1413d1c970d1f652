from relay.rooms.matrix import signing_key
from relay.rooms.matrix.tables import TABLES
from tests.fakes.ledger import memory_ledger

DAY_MS = 24 * 3600 * 1000


async def test_the_key_is_made_once_and_kept() -> None:
    async with memory_ledger(TABLES) as ledger:
        first = await signing_key.own_key(ledger, 1_000)
        again = await signing_key.own_key(ledger, 1_000 + 400 * DAY_MS)
        assert again.key_id == first.key_id
        assert again.public == first.public
        assert await ledger.read(signing_key.old_keys) == []


async def test_a_key_that_is_too_old_is_replaced_and_stays_published_as_old() -> None:
    async with memory_ledger(TABLES) as ledger:
        first = await signing_key.own_key(ledger, 1_000, max_age_ms=DAY_MS)
        assert (await signing_key.own_key(ledger, 1_000 + DAY_MS, max_age_ms=DAY_MS)).key_id == first.key_id
        second = await signing_key.own_key(ledger, 1_001 + DAY_MS, max_age_ms=DAY_MS)
        assert second.key_id != first.key_id
        old = await ledger.read(signing_key.old_keys)
        assert [(key.key_id, expired_ms) for key, expired_ms in old] == [(first.key_id, 1_001 + DAY_MS)]
        assert (await signing_key.own_key(ledger, 1_002 + DAY_MS, max_age_ms=DAY_MS)).key_id == second.key_id
