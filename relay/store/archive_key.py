"""The key of one backup archive, and what its header says about where that key comes from."""

import dataclasses
import hashlib
import secrets
import struct
from typing import Self

from relay.base.errors import ConfigError
from relay.base.limits import MAX_ARCHIVE_ARGON_MEMORY_KIB, MAX_ARCHIVE_ARGON_PASSES

KEY_BYTES = 32
SALT_BYTES = 16
_CHECK_BYTES = 8
_FORM = struct.Struct("<BBxxII16s8s")
PARAMETERS_BYTES = _FORM.size
FILE, PASSPHRASE = 1, 2
# Half of the relay's own budget, for a moment, in the process of the command line.
_ARGON_MEMORY_KIB = 64 * 1024
_ARGON_PASSES = 4
_LEAST_FILE_BYTES = 32
_LEAST_PHRASE_BYTES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class KeyParameters:
    """What stands in the header of an archive; public.

    Attributes:
        kind: `FILE` or `PASSPHRASE`.
        passes, memory_kib: what argon2id costs, 0 for a file.
        salt: 16 random bytes, so that no two archives share a key.
        check: tells another key from damage.
    """

    kind: int
    passes: int
    memory_kib: int
    salt: bytes
    check: bytes = bytes(_CHECK_BYTES)

    def pack(self) -> bytes:
        """Return the fixed form of the header."""
        return _FORM.pack(self.kind, 0, self.passes, self.memory_kib, self.salt, self.check)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Return what `packed` (`PARAMETERS_BYTES`) says.

        Raises:
            ValueError: no archive says such a thing.
        """
        if len(packed) != PARAMETERS_BYTES:
            raise ValueError(f"the parameters of a key have {PARAMETERS_BYTES} bytes")
        kind, reserved, passes, memory_kib, salt, check = _FORM.unpack(packed)
        costly = passes > MAX_ARCHIVE_ARGON_PASSES or memory_kib > MAX_ARCHIVE_ARGON_MEMORY_KIB
        if kind not in (FILE, PASSPHRASE) or reserved or costly:
            raise ValueError("these are not the parameters of a key")
        return cls(kind, passes, memory_kib, salt, check)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """What a person keeps to open backups with: a passphrase, or the bytes of a key file."""

    kind: int
    content: bytes

    @classmethod
    def from_file(cls, content: bytes) -> Self:
        """Take the bytes of a key file.

        Raises:
            ConfigError: there are too few of them to be a key.
        """
        if len(content) < _LEAST_FILE_BYTES:
            raise ConfigError(f"the key file has {len(content)} bytes; it must have {_LEAST_FILE_BYTES} or more")
        return cls(FILE, content)

    @classmethod
    def from_passphrase(cls, phrase: bytes) -> Self:
        """Take a passphrase.

        Raises:
            ConfigError: it is too short to protect anything.
        """
        if len(phrase) < _LEAST_PHRASE_BYTES:
            raise ConfigError(f"the passphrase has {len(phrase)} bytes; it must have {_LEAST_PHRASE_BYTES} or more")
        return cls(PASSPHRASE, phrase)

    def key(self, parameters: KeyParameters) -> bytes:
        """Return the 32-byte key of the archive with these parameters; argon2id takes a second and 64 MiB.

        Raises:
            ConfigError: the archive was sealed with the other kind of secret.
        """
        if parameters.kind != self.kind:
            wanted = "a passphrase" if parameters.kind == PASSPHRASE else "a key file"
            raise ConfigError(f"the backup was sealed with {wanted}")
        if self.kind == FILE:
            digest = hashlib.blake2b(self.content, person=b"doorstep-backup", digest_size=KEY_BYTES).digest()
            return hashlib.blake2b(parameters.salt, key=digest, digest_size=KEY_BYTES).digest()
        from nacl import pwhash

        return pwhash.argon2id.kdf(
            KEY_BYTES,
            self.content,
            parameters.salt,
            opslimit=parameters.passes,
            memlimit=parameters.memory_kib * 1024,
        )

    def fresh(self) -> "ArchiveKey":
        """Return the key of a new archive."""
        passes, memory_kib = (_ARGON_PASSES, _ARGON_MEMORY_KIB) if self.kind == PASSPHRASE else (0, 0)
        parameters = KeyParameters(self.kind, passes, memory_kib, secrets.token_bytes(SALT_BYTES))
        key = self.key(parameters)
        return ArchiveKey(key, dataclasses.replace(parameters, check=check_of(key)))


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class ArchiveKey:
    """The key of one archive, with the parameters that lead back to it."""

    key: bytes
    parameters: KeyParameters


def check_of(key: bytes) -> bytes:
    """Return 8 bytes that tell `key` from others and nothing else."""
    return hashlib.blake2b(key, person=b"doorstep-check", digest_size=_CHECK_BYTES).digest()
