"""Single-use invitations to join the household: the token of `m.login.registration_token`, kept as its hash."""

import secrets

from relay.base.clock import RELEASED_MS, was_set
from relay.base.errors import ForbiddenError
from relay.base.ids import UserId
from relay.household.tokens import hash_token
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS invitations (
        hash BLOB PRIMARY KEY, expires_ms INTEGER NOT NULL, used_by INTEGER) WITHOUT ROWID""",
)
_ADD = Operation(420, "INSERT INTO invitations (hash, expires_ms) VALUES (?, ?)")
_USE = Operation(421, "UPDATE invitations SET used_by = ? WHERE hash = ?")
_PRUNE = Operation(422, "DELETE FROM invitations WHERE expires_ms < ?")
OPERATIONS = (_ADD, _USE, _PRUNE)


def draw_invitation() -> str:
    """Return a new random token: 128 bits in the opaque identifier grammar, short enough to type once."""
    return secrets.token_urlsafe(16)


def create(change: Change, token: str, now_ms: int, ttl_ms: int) -> None:
    """Let one person in with `token` for `ttl_ms`; what expired long ago is forgotten.

    Made while the clock is not set, it lets somebody in whenever that is: nobody knows how long ago it was made.
    """
    timeless = "SELECT 1 FROM invitations WHERE expires_ms < ? AND used_by IS NULL LIMIT 1"
    if change.row(timeless, RELEASED_MS) is None:
        change.write(_PRUNE, now_ms)
    change.write(_ADD, hash_token(token), now_ms + ttl_ms)


def is_valid(index: Index, token: str, now_ms: int) -> bool:
    """Return whether `token` would still let somebody in."""
    row = index.row("SELECT expires_ms, used_by FROM invitations WHERE hash = ?", hash_token(token))
    return row is not None and (row[0] > now_ms or not was_set(row[0])) and row[1] is None


def consume(change: Change, token: str, user: UserId, now_ms: int) -> None:
    """Use up `token` for `user`; called in the same change that makes the account.

    Raises:
        ForbiddenError: it is unknown, expired, or somebody else was faster.
    """
    if not is_valid(change, token, now_ms):
        raise ForbiddenError("this invitation is not valid, or not any more")
    change.write(_USE, change.intern(user), hash_token(token))
