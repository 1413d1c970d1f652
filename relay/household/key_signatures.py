"""Signatures that people uploaded on keys: added to what is shown, to those who may see them.

Client-server API, "Key and signature security".
"""

from typing import Any

from relay.base.ids import UserId
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS key_signatures (
        target_user INTEGER NOT NULL, target TEXT NOT NULL, signer INTEGER NOT NULL, signer_key TEXT NOT NULL,
        signature TEXT NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (target_user, target, signer, signer_key)) WITHOUT ROWID""",
)
_ADD = Operation(
    355,
    "INSERT INTO key_signatures (target_user, target, signer, signer_key, signature, position)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (target_user, target, signer, signer_key)"
    " DO UPDATE SET signature = excluded.signature, position = excluded.position",
)
_DROP_SIGNER = Operation(356, "DELETE FROM key_signatures WHERE signer = ? AND signer_key = ?")
_DROP_TARGET = Operation(357, "DELETE FROM key_signatures WHERE target_user = ? AND target = ?")
OPERATIONS = (_ADD, _DROP_SIGNER, _DROP_TARGET)


def add(change: Change, owner: UserId, target: str, signer: UserId, signer_key: str, signature: str) -> bool:  # noqa: PLR0917 - one row
    """Store a signature on `target`, a device or public key of `owner`; return whether it is new."""
    row = (change.intern(owner), target, change.intern(signer), signer_key)
    stored = change.value(
        "SELECT signature FROM key_signatures WHERE target_user = ? AND target = ? AND signer = ? AND signer_key = ?",
        *row,
    )
    if stored == signature:
        return False
    change.write(_ADD, *row, signature, change.position)
    return True


def drop_signer(change: Change, signer: int, signer_key: str) -> None:
    """Forget what was signed with a key that is gone."""
    change.write(_DROP_SIGNER, signer, signer_key)


def drop_target(change: Change, owner: int, target: str) -> None:
    """Forget what was signed of a device that is gone."""
    if change.row("SELECT 1 FROM key_signatures WHERE target_user = ? AND target = ?", owner, target) is not None:
        change.write(_DROP_TARGET, owner, target)


def with_signatures(
    index: Index, owner: UserId, target: str, asking: UserId | None, key: dict[str, Any]
) -> dict[str, Any]:
    """Return `key` (the device or public key `target`) with the owner's and the asker's signatures added."""
    rows = index.rows(
        "SELECT signer, signer_key, signature FROM key_signatures"
        " WHERE target_user = ?1 AND target = ?2 AND (signer = ?1 OR signer = ?3) ORDER BY signer, signer_key",
        index.find(owner),
        target,
        None if asking is None else index.find(asking),
    )
    if not rows:
        return key
    given = key.get("signatures")
    signatures = {name: dict(keys) for name, keys in (given if isinstance(given, dict) else {}).items() if keys}
    for signer, signer_key, signature in rows:
        signatures.setdefault(index.name(signer), {})[signer_key] = signature
    return {**key, "signatures": signatures}


def signed_since(index: Index, user: UserId, after_position: int) -> set[UserId]:
    """Return the other people whose keys `user` signed after `after_position`: their devices have to look again."""
    rows = index.rows(
        "SELECT DISTINCT target_user FROM key_signatures"
        " WHERE signer = ?1 AND target_user <> ?1 AND position > ?2 ORDER BY target_user",
        index.find(user),
        after_position,
    )
    return {UserId(index.name(target)) for (target,) in rows}
