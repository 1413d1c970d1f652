"""The box's own signing key: made once, kept sealed in the ledger, replaced when it is too old."""

import secrets

from relay.base.ids import KeyId
from relay.core.matrix.signing import SigningKey, generate
from relay.rooms.matrix.tables import ADD_OWN_KEY, EXPIRE_OWN_KEY
from relay.store.ledger import Change, Index, Ledger


async def own_key(ledger: Ledger, now_ms: int, *, max_age_ms: int | None = None) -> SigningKey:
    """Return the key to sign with, made now if there is none, or if it is older than `max_age_ms`.

    The ones before it stay published as old.
    """
    return await ledger.run(_current_or_new, secrets.token_bytes(32), _label(), now_ms, max_age_ms)


def old_keys(index: Index) -> list[tuple[SigningKey, int]]:
    """Return (key, expired at in ms) of every key that was in use once."""
    rows = index.rows("SELECT key_id, seed, expired_ms FROM own_keys WHERE expired_ms IS NOT NULL ORDER BY key_id")
    return [(SigningKey(KeyId(key_id), seed), expired_ms) for key_id, seed, expired_ms in rows]


def _label() -> str:
    return f"a_{secrets.token_hex(3)}"


def _current_or_new(change: Change, seed: bytes, label: str, now_ms: int, max_age_ms: int | None) -> SigningKey:
    held = change.row("SELECT key_id, seed, created_ms FROM own_keys WHERE expired_ms IS NULL ORDER BY created_ms DESC")
    if held is not None:
        key_id, held_seed, created_ms = held
        if max_age_ms is None or now_ms - created_ms <= max_age_ms:
            return SigningKey(KeyId(key_id), held_seed)
        change.write(EXPIRE_OWN_KEY, key_id, now_ms)
    key = generate(seed, label)
    change.write(ADD_OWN_KEY, key.key_id, seed, now_ms)
    return key
