"""Access and refresh tokens as the ledger keeps them: by hash only, in generations of one device."""

import hashlib
import secrets
from dataclasses import dataclass

from relay.base.ids import DeviceId
from relay.store.ledger import Change
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS tokens (
        hash BLOB PRIMARY KEY, user INTEGER NOT NULL, device TEXT NOT NULL, generation INTEGER NOT NULL,
        refresh INTEGER NOT NULL, expires_ms INTEGER, confirmed INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS tokens_of_device ON tokens (user, device)",
)
_ADD = Operation(
    310,
    "INSERT INTO tokens (hash, user, device, generation, refresh, expires_ms, confirmed) VALUES (?, ?, ?, ?, ?, ?, ?)",
)
_DROP_DEVICE = Operation(311, "DELETE FROM tokens WHERE user = ? AND device = ?")
_DROP_OTHERS = Operation(312, "DELETE FROM tokens WHERE user = ? AND device = ? AND generation <> ?")
_DROP_NEWER = Operation(313, "DELETE FROM tokens WHERE user = ? AND device = ? AND generation > ?")
_CONFIRM = Operation(314, "UPDATE tokens SET confirmed = 1 WHERE user = ? AND device = ? AND generation = ?")
ENDINGS = ("tokens",)
"""The topic rung whenever tokens end."""
OPERATIONS = (_ADD, _DROP_DEVICE, _DROP_OTHERS, _DROP_NEWER, _CONFIRM)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an app is given once and the box never sees again in clear, unless the app shows it.

    Attributes:
        access: goes with every request.
        refresh: buys the next pair; None where the app asked for none.
        expires_ms: wall clock at which `access` ends; None for never.
    """

    access: str
    refresh: str | None = None
    expires_ms: int | None = None


def draw_tokens(*, refreshable_until_ms: int | None = None) -> Tokens:
    """Return new random tokens of 256 bits; with `refreshable_until_ms` a pair that ends then."""
    if refreshable_until_ms is None:
        return Tokens("dsa_" + secrets.token_urlsafe(32))
    return Tokens("dsa_" + secrets.token_urlsafe(32), "dsr_" + secrets.token_urlsafe(32), refreshable_until_ms)


def draw_device_id() -> DeviceId:
    """Return a new random device id."""
    return DeviceId("".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(10)))


def hash_token(token: str) -> bytes:
    """Return what the ledger knows of a token. Tokens are 256 random bits: a slow hash would add nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def add(change: Change, user: int, device: DeviceId, tokens: Tokens, *, confirmed: bool) -> None:
    """Store a generation, numbered by the change."""
    generation, confirmation = change.position, int(confirmed)
    change.write(_ADD, hash_token(tokens.access), user, device, generation, 0, tokens.expires_ms, confirmation)
    if tokens.refresh is not None:
        change.write(_ADD, hash_token(tokens.refresh), user, device, generation, 1, None, confirmation)


def drop_device(change: Change, user: int, device: DeviceId) -> None:
    """Forget every token of a device."""
    change.write(_DROP_DEVICE, user, device)
    change.wake(ENDINGS)


def drop_newer(change: Change, user: int, device: DeviceId, generation: int) -> None:
    """Forget the generations after `generation`: pairs that were given out and never used."""
    change.write(_DROP_NEWER, user, device, generation)
    change.wake(ENDINGS)


def confirm(change: Change, user: int, device: DeviceId, generation: int) -> None:
    """Note that the app holds `generation`: all earlier tokens of the device end here."""
    change.write(_DROP_OTHERS, user, device, generation)
    change.write(_CONFIRM, user, device, generation)
    change.wake(ENDINGS)
