"""Filters that apps store once and name in every sync (client-server API, "Filtering")."""

import hashlib
from typing import Any

from relay.base.errors import NotFoundError, TooLargeError
from relay.base.ids import UserId
from relay.base.limits import MAX_FILTER_BYTES, MAX_FILTERS_PER_USER
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS filters (
        user INTEGER NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (user, number)) WITHOUT ROWID""",
)
_ADD = Operation(395, "INSERT INTO filters (user, number, digest, content) VALUES (?, ?, ?, ?)")
_PRUNE = Operation(396, "DELETE FROM filters WHERE user = ? AND number <= ?")
OPERATIONS = (_ADD, _PRUNE)


def add(change: Change, user: UserId, content: dict[str, Any]) -> str:
    """Store a filter and return its id; the same filter again has the same id. The oldest beyond a limit goes.

    Raises:
        TooLargeError: it is longer than `MAX_FILTER_BYTES`.
    """
    stored = pack(content)
    if len(stored) > MAX_FILTER_BYTES:
        raise TooLargeError(f"a filter may have at most {MAX_FILTER_BYTES} bytes")
    digest = hashlib.blake2b(stored, digest_size=16).digest()
    owner = change.intern(user)
    known = change.value("SELECT number FROM filters WHERE user = ? AND digest = ? ORDER BY number", owner, digest)
    if known is not None:
        return str(known)
    number = 1 + (change.value("SELECT MAX(number) FROM filters WHERE user = ?", owner) or 0)
    change.write(_ADD, owner, number, digest, stored)
    if number > MAX_FILTERS_PER_USER:
        change.write(_PRUNE, owner, number - MAX_FILTERS_PER_USER)
    return str(number)


def get(index: Index, user: UserId, filter_id: str) -> dict[str, Any]:
    """Return a stored filter.

    Raises:
        NotFoundError: the user has no filter of this id.
    """
    number = int(filter_id) if filter_id.isascii() and filter_id.isdigit() and len(filter_id) < 16 else -1
    stored = index.value("SELECT content FROM filters WHERE user = ? AND number = ?", index.find(user), number)
    if stored is None:
        raise NotFoundError("no such filter")
    return dict(unpack(stored))
