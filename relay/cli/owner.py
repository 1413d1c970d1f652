"""Whether somebody at the cable is the owner; works while the relay is stopped and while the index is damaged."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from relay.admin.client import ask
from relay.base.config import OWNER_FILE_NAME, Config, StoreConfig, load
from relay.base.errors import ConfigError, ConflictError, Fault, InvalidInputError, RelayError, WrongKeyError
from relay.base.trial import BEFORE
from relay.base.typed_toml import read_toml
from relay.cli.guesses import Guesses
from relay.household import ownership
from relay.store import keyring
from relay.store.faults import KeyringLostError

RUNTIME = Path("/run/doorstep")


class WrongSecretError(RelayError):
    """This is not the password of anybody who looks after the box."""

    code = "console.wrong_secret"
    fault = Fault.USER
    retryable = True


_WRONG = {WrongSecretError.code, WrongKeyError.code}


def owner_check(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Return nothing but that the secret in `fields` is the owner's.

    Raises:
        WrongSecretError: it is not; the try was counted.
        RateLimitedError: too many tries were wrong.
        RelayError: it cannot be found out; the try was not counted.
    """
    secret = fields.get("secret")
    if not isinstance(secret, str) or not secret or fields.keys() != {"secret"}:
        raise InvalidInputError("the secret is a text")
    store = _store_settings(folder)
    with counted(folder):
        if not is_owner(folder, store, secret):
            raise WrongSecretError("this is not the owner's password")
    return {"owner": True}


def _store_settings(folder: Path) -> StoreConfig:
    """Return where the key is, also while the settings cannot be read: the owner is who brings them back."""
    try:
        return load(folder).store
    except ConfigError:
        with suppress(ConfigError):
            return Config.parse(read_toml(folder / BEFORE)).store
        return StoreConfig()


@contextmanager
def counted(folder: Path) -> Iterator[None]:
    """Count a try at a secret of the box, made in this block, as wrong if it ends with the error for that.

    Raises:
        RateLimitedError: too many tries were wrong; the block is not entered.
    """
    guesses = Guesses([folder, RUNTIME])
    with _one_at_a_time(folder):
        guesses.count()
        try:
            yield
        except RelayError as error:
            if error.code not in _WRONG:
                # Nothing was learnt about the secret.
                guesses.forgive_last()
            raise
        guesses.forgive()


def is_owner(folder: Path, store: StoreConfig, secret: str) -> bool:
    """Return whether `secret` is the password of somebody who looks after the box, or what the box is sealed with.

    Raises:
        ConflictError: who that is was never noted.
        RelayError: the keys cannot be had.
    """
    if store.key_source != "passphrase":
        return _proves(folder, store, secret)
    if _opens(folder, secret):
        return True
    try:
        return _proves(folder, store, secret)
    except RelayError:
        # Without the passphrase at hand nobody's password can be looked at, and this try at the passphrase was wrong.
        return False


def _proves(folder: Path, store: StoreConfig, secret: str) -> bool:
    from relay.app.house import unlock

    path = folder / OWNER_FILE_NAME
    try:
        if not path.exists():
            raise ConflictError("who looks after this box was never noted: start it once, or hold its button")
        hashes = ownership.unseal(unlock(folder, store).index_key, path.read_bytes())
    except RelayError:
        # A key that only the service gets at, a TPM's for example; a box that runs has it.
        with suppress(RelayError):
            return ask(folder, {"verb": "owner_password", "password": secret})["owner"] is True
        raise
    return ownership.proves(hashes, secret)


def _opens(folder: Path, phrase: str) -> bool:
    try:
        keyring.open_keyring(folder, keyring.Passphrase(phrase.encode("utf-8", "surrogatepass")))
    except WrongKeyError:
        return False
    return True


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    # Two cables are two consoles, and tries at both count together.
    try:
        descriptor = os.open(folder / keyring.FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyringLostError("the file keyring is gone: nobody can prove to be the owner") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
