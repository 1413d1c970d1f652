"""The people of this house: accounts, their passwords (as argon2id hashes only), and which of them are still active."""

import functools
from dataclasses import dataclass
from typing import Any

import trio
from nacl import exceptions, pwhash

from relay.base.errors import InvalidInputError, NotFoundError, RateLimitedError
from relay.base.ids import ServerName, UserId, make_user_id
from relay.base.limits import (
    ARGON2_MEMORY_BYTES,
    ARGON2_PASSES,
    MAX_PASSWORD_BYTES,
    MAX_WAITING_PASSWORDS,
    MIN_PASSWORD_CHARACTERS,
    PASSWORD_RETRY_S,
)
from relay.household.faults import InvalidUsernameError, UserInUseError, WeakPasswordError
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS accounts (
        user INTEGER PRIMARY KEY, password_hash TEXT, created_ms INTEGER NOT NULL,
        admin INTEGER NOT NULL, deactivated_ms INTEGER)""",
)
_CREATE = Operation(300, "INSERT INTO accounts (user, password_hash, created_ms, admin) VALUES (?, ?, ?, ?)")
_SET_PASSWORD = Operation(301, "UPDATE accounts SET password_hash = ? WHERE user = ?")
_DEACTIVATE = Operation(302, "UPDATE accounts SET password_hash = NULL, deactivated_ms = ? WHERE user = ?")
OPERATIONS = (_CREATE, _SET_PASSWORD, _DEACTIVATE)

ADMINS = "admins"
"""The topic of changes in who looks after the box, or by which password."""

# Each hash takes its memory for a moment; two at once would double the peak of the whole relay.
_one_at_a_time = trio.CapacityLimiter(1)


@dataclass(frozen=True, slots=True)
class Account:
    """One person of the household."""

    user: UserId
    admin: bool
    active: bool


def new_user_id(localpart: str, server: ServerName) -> UserId:
    """Return the id a new account called `localpart` would have.

    Raises:
        InvalidUsernameError: the name does not fit the grammar.
    """
    try:
        return make_user_id(localpart, server)
    except InvalidInputError as error:
        raise InvalidUsernameError(str(error)) from error


def create(change: Change, user: UserId, password_hash: str, now_ms: int, *, admin: bool = False) -> None:
    """Make an account.

    Raises:
        UserInUseError: there is one, or was.
    """
    if exists(change, user):
        raise UserInUseError("this user name is taken")
    change.write(_CREATE, change.intern(user), password_hash, now_ms, int(admin))
    change.wake(ADMINS)


def exists(index: Index, user: UserId) -> bool:
    """Return whether this box has, or once had, the account."""
    return _column(index, user, "1") is not None


def is_active(index: Index, user: UserId) -> bool:
    """Return whether the account exists and was not deactivated."""
    return bool(_column(index, user, "deactivated_ms IS NULL"))


def password_hash_of(index: Index, user: UserId) -> str | None:
    """Return the stored hash; None for unknown and deactivated accounts."""
    found: str | None = _column(index, user, "password_hash")
    return found


def set_password(change: Change, user: UserId, password_hash: str) -> None:
    """Replace the password.

    Raises:
        NotFoundError: no such active account.
    """
    _require_active(change, user)
    change.write(_SET_PASSWORD, password_hash, change.intern(user))
    change.wake(ADMINS)


def deactivate(change: Change, user: UserId, now_ms: int) -> None:
    """Close the account for good; its name stays taken. Devices and data are dropped by their own modules.

    Raises:
        NotFoundError: no such active account.
    """
    _require_active(change, user)
    change.write(_DEACTIVATE, now_ms, change.intern(user))
    change.wake(ADMINS)


def list_accounts(index: Index) -> list[Account]:
    """Return everybody, oldest account first."""
    rows = index.rows("SELECT user, admin, deactivated_ms IS NULL FROM accounts ORDER BY created_ms, user")
    return [Account(UserId(index.name(user)), bool(admin), bool(active)) for user, admin, active in rows]


def admin_hashes(index: Index) -> list[str]:
    """Return the password hashes of everybody who looks after the box, oldest account first."""
    rows = index.rows(
        "SELECT password_hash FROM accounts WHERE admin AND deactivated_ms IS NULL ORDER BY created_ms, user"
    )
    return [text for (text,) in rows if text]


def check_password(text: str) -> None:
    """Accept a password that somebody chose.

    Raises:
        WeakPasswordError: it is shorter or longer than `base.limits` allows.
    """
    if len(text) < MIN_PASSWORD_CHARACTERS:
        raise WeakPasswordError(f"a password needs at least {MIN_PASSWORD_CHARACTERS} characters")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        raise WeakPasswordError(f"a password may have at most {MAX_PASSWORD_BYTES} bytes")


async def hash_password(text: str) -> str:
    """Return the argon2id hash of `text`, salt and cost inside; in a worker, one at a time.

    Raises:
        WeakPasswordError: as `check_password`.
        RateLimitedError: too many others wait for the worker.
    """
    check_password(text)
    _refuse_a_crowd()
    return await trio.to_thread.run_sync(_hash, text, limiter=_one_at_a_time)


async def verify_password(password_hash: str | None, text: str) -> bool:
    """Return whether `text` is the password; without a hash it costs the same time and is False.

    Raises:
        RateLimitedError: too many others wait for the worker.
    """
    _refuse_a_crowd()
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        return False
    return await trio.to_thread.run_sync(_verify, password_hash, text, limiter=_one_at_a_time)


def _refuse_a_crowd() -> None:
    if _one_at_a_time.statistics().tasks_waiting >= MAX_WAITING_PASSWORDS:
        raise RateLimitedError("too many passwords are being checked", retry_after_s=PASSWORD_RETRY_S)


def _hash(text: str) -> str:
    encoded = text.encode("utf-8", "surrogatepass")
    return (
        pwhash.argon2id.str(encoded, opslimit=ARGON2_PASSES, memlimit=ARGON2_MEMORY_BYTES).decode("ascii").rstrip("\0")
    )


@functools.cache
def _nobodys_hash() -> str:
    return _hash("nobody has this password")


def _verify(password_hash: str | None, text: str) -> bool:
    known = _nobodys_hash() if password_hash is None else password_hash
    try:
        matches = pwhash.argon2id.verify(known.encode("ascii"), text.encode("utf-8", "surrogatepass"))
    except exceptions.InvalidkeyError:
        return False
    return bool(matches) and password_hash is not None


def _require_active(index: Index, user: UserId) -> None:
    if not is_active(index, user):
        raise NotFoundError("no such account")


def _column(index: Index, user: UserId, column: str) -> Any:  # noqa: ANN401 - whatever the column holds
    number = index.find(user)
    if number is None:
        return None
    return index.value(f"SELECT {column} FROM accounts WHERE user = ?", number)  # noqa: S608 - constants of this file
