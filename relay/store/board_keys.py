"""Root keys that the board holds: fuses and TPM, as `relay.store.keyring.KeySource`; `relay.app` hands the hardware in.

All that belongs to them lies in the parameters of the keyring, in the same file: overwriting that one forgets the key.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Protocol

from relay.base.errors import ConfigError, DamagedError
from relay.store.keyring import KEY_BYTES, check_kind

_SALT_BYTES = 32


class Fuses(Protocol):
    """Bits of the processor that were set once and for ever."""

    def find(self) -> str:
        """Return the kind of rows that hold something.

        Raises:
            ConfigError: none does; the message says what a person can do.
        """
        ...

    def read(self, kind: str) -> bytes:
        """Return these rows, 32 bytes, zeros where nothing was set."""
        ...


class Vault(Protocol):
    """A chip that opens what it sealed, and no other does."""

    def seal(self, secret: bytes) -> dict[str, Any]:
        """Return public parameters."""
        ...

    def unseal(self, parameters: dict[str, Any]) -> bytes:
        """Return what `seal` was given.

        Raises:
            WrongKeyError: another chip sealed it, or this one in another condition.
        """
        ...


@dataclass(frozen=True, slots=True)
class FusedKey:
    """The hash of the board's fuses with a salt of this box: without the salt the fuses tell nothing."""

    fuses: Fuses

    def parameters(self) -> dict[str, Any]:
        """Return which rows count, and a fresh salt."""
        return {"kind": "otp", "rows": self.fuses.find(), "salt": secrets.token_bytes(_SALT_BYTES)}

    def root_key(self, parameters: dict[str, Any]) -> bytes:
        """Return the key that rows and salt make."""
        check_kind(parameters, "otp")
        rows = self.fuses.read(parameters["rows"])
        if not any(rows):
            raise ConfigError("the fuses of this board hold no key: this is not the board that the box was sealed on")
        return hashlib.blake2b(rows, key=parameters["salt"], person=b"doorstep-otp", digest_size=KEY_BYTES).digest()


@dataclass(frozen=True, slots=True)
class VaultKey:
    """Random bytes that only the board's TPM gives back."""

    vault: Vault

    def parameters(self) -> dict[str, Any]:
        """Return a fresh key, sealed."""
        return {"kind": "tpm", **self.vault.seal(secrets.token_bytes(KEY_BYTES))}

    def root_key(self, parameters: dict[str, Any]) -> bytes:
        """Return the key, unsealed."""
        check_kind(parameters, "tpm")
        key = self.vault.unseal(parameters)
        if len(key) != KEY_BYTES:
            raise DamagedError(f"the TPM gave {len(key)} bytes for a key")
        return key
