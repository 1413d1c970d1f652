"""The keyring: keys for journal, index and media, wrapped by a root key that comes from elsewhere.

The file `keyring` in the state folder holds them sealed (XChaCha20-Poly1305 under a key derived from the root key and a
salt), so that the source can change without sealing everything again. A root key file inside the state folder protects
nothing; `relay.app.theft` says so.
"""

import contextlib
import dataclasses
import errno
import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from nacl import bindings
from nacl.exceptions import CryptoError

from relay.base.errors import (
    ConfigError,
    ConflictError,
    DamagedError,
    KeyAbsentError,
    NewerFormatError,
    RelayError,
    WrongKeyError,
)
from relay.store.files import OS_FILES, FileLayer
from relay.store.packing import pack, unpack

FILE_NAME = "keyring"
BEFORE = "keyring.before"
"""The keyring as the source before wrapped it, while a change of sources is under way."""
_FORMAT = 1
KEY_BYTES = 32
_SALT_BYTES = 16
_NONCE_BYTES = 24
_MAX_KEY_FILE_BYTES = 4096
# A Zero 2 W has 512 MiB: half of the relay's own budget for a moment at the start.
_ARGON_MEMORY_KIB = 64 * 1024
_ARGON_PASSES = 4


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Keyring:
    """The keys of one state folder, each 32 random bytes."""

    journal_key: bytes
    index_key: bytes
    media_key: bytes


class KeySource(Protocol):
    """Where the root key comes from."""

    def parameters(self) -> dict[str, Any]:
        """Return fresh public parameters, kept beside the wrapped keys."""
        ...

    def root_key(self, parameters: dict[str, Any]) -> bytes:
        """Return the 32-byte root key.

        Raises:
            ConfigError: the source is missing or not of the kind the keyring was made with.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class KeyFile:
    """A file of 32 random bytes or more, best on something that is taken out or locked away."""

    path: Path
    awaited: bool = False
    """Whether it is on something that may come yet, as a stick that is not in."""

    def parameters(self) -> dict[str, Any]:
        """Return nothing but the kind."""
        return {"kind": "file"}

    def root_key(self, parameters: dict[str, Any]) -> bytes:
        """Return the hash of the file's bytes."""
        check_kind(parameters, "file")
        try:
            content = self.path.read_bytes()
        except OSError as error:
            if self.awaited and error.errno not in (errno.EACCES, errno.EPERM):
                raise KeyAbsentError(f"the key file {self.path} is not there") from None
            raise ConfigError(f"key file {self.path} cannot be read: {error.strerror}") from None
        if not KEY_BYTES <= len(content) <= _MAX_KEY_FILE_BYTES:
            raise ConfigError(
                f"key file {self.path} has {len(content)} bytes; it may have {KEY_BYTES} to {_MAX_KEY_FILE_BYTES}"
            )
        return hashlib.blake2b(content, person=b"doorstep-keyfil", digest_size=KEY_BYTES).digest()

    def create(self, *, files: FileLayer = OS_FILES) -> None:
        """Make the file with fresh random bytes, readable by its owner only; whole or not at all.

        Raises:
            FileExistsError: there is one; it is never replaced.
        """
        if files.exists(self.path):
            raise FileExistsError(f"{self.path} exists")
        write_whole(self.path, secrets.token_bytes(KEY_BYTES), files)


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Passphrase:
    """Something a person types at the console after each power cut; argon2id makes guessing slow."""

    phrase: bytes

    def parameters(self) -> dict[str, Any]:
        """Return a fresh salt and what argon2id costs."""
        salt = secrets.token_bytes(_SALT_BYTES)
        return {"kind": "passphrase", "salt": salt, "passes": _ARGON_PASSES, "memory_kib": _ARGON_MEMORY_KIB}

    def root_key(self, parameters: dict[str, Any]) -> bytes:
        """Return argon2id of the phrase."""
        from nacl import pwhash

        check_kind(parameters, "passphrase")
        return pwhash.argon2id.kdf(
            KEY_BYTES,
            self.phrase,
            parameters["salt"],
            opslimit=parameters["passes"],
            memlimit=parameters["memory_kib"] * 1024,
        )


def create_keyring(folder: Path, source: KeySource, *, files: FileLayer = OS_FILES) -> Keyring:
    """Make fresh keys for a new state folder and keep them wrapped by `source`.

    Raises:
        FileExistsError: the folder has a keyring; replacing it would lose everything.
    """
    files.make_folder(folder)
    if files.exists(folder / FILE_NAME):
        raise FileExistsError(f"{folder / FILE_NAME} exists")
    keyring = Keyring(*(secrets.token_bytes(KEY_BYTES) for _ in range(3)))
    wrap_keyring(folder, keyring, source, files=files)
    return keyring


def open_keyring(folder: Path, source: KeySource, *, files: FileLayer = OS_FILES) -> Keyring:
    """Return the keys of a state folder.

    Where a change of sources was cut short before the settings named the new one, the old one still opens.

    Raises:
        WrongKeyError: the source gives another key than the folder was sealed with; nothing was changed.
        ConfigError: there is no keyring, or the source cannot be read.
        NewerFormatError: a newer release wrote it.
        DamagedError: the keyring file is not one.
    """
    try:
        return _open(folder / FILE_NAME, source, files)
    except RelayError:
        with contextlib.suppress(RelayError):
            return _open(folder / BEFORE, source, files)
        raise


def rewrap_keyring(folder: Path, keyring: Keyring, source: KeySource, *, files: FileLayer = OS_FILES) -> None:
    """Wrap the keys by another source, which is tried at once; the old one opens them too until `settle_keyring`.

    Raises:
        ConflictError: a change before this one did not end: only the keyring of before may open by the source in force.
        RelayError: the new source does not work; the old one goes on alone.
    """
    if files.exists(folder / BEFORE):
        raise ConflictError("an earlier change of where the key is did not end: start the box once, then try again")
    old = _content(folder / FILE_NAME, files)
    write_whole(folder / BEFORE, old, files)
    try:
        wrap_keyring(folder, keyring, source, files=files)
        _open(folder / FILE_NAME, source, files)
    except RelayError:
        write_whole(folder / FILE_NAME, old, files)
        forget([folder / BEFORE], files=files)
        raise


def settle_keyring(folder: Path, source: KeySource, *, files: FileLayer = OS_FILES) -> None:
    """End a change of sources: `source`, which the settings name, is the one that opens from now on.

    Raises:
        RelayError: it opens neither keyring; nothing was changed.
    """
    if not files.exists(folder / BEFORE):
        return
    try:
        _open(folder / FILE_NAME, source, files)
    except RelayError:
        _open(folder / BEFORE, source, files)
        write_whole(folder / FILE_NAME, _content(folder / BEFORE, files), files)
    forget([folder / BEFORE], files=files)


def forget(paths: Iterable[Path], *, files: FileLayer = OS_FILES) -> None:
    """Overwrite and remove what holds keys, one after the other, for what that is worth on flash."""
    for path in paths:
        if not files.exists(path) or path.is_symlink():
            continue
        file = files.open(path)
        try:
            file.write(bytes(file.size_bytes()), 0)
            file.sync()
        finally:
            file.close()
        files.remove(path)
        files.sync_folder(path.parent)


def _content(path: Path, files: FileLayer) -> bytes:
    if not files.exists(path):
        raise ConfigError(f"{path} does not exist: the box has not been provisioned")
    file = files.open_to_read(path)
    try:
        return file.read(_MAX_KEY_FILE_BYTES, 0)
    finally:
        file.close()


def _open(path: Path, source: KeySource, files: FileLayer) -> Keyring:
    content = _content(path, files)
    try:
        format_number, *fields = unpack(content)
        if isinstance(format_number, int) and format_number > _FORMAT:
            # Whatever its fields are.
            raise NewerFormatError.of(f"{path}", f"format {format_number}, this release knows {_FORMAT}")
        salt, parameters, nonce, sealed = fields
    except (ValueError, TypeError):
        raise DamagedError(f"{path} is not a keyring") from None
    if format_number != _FORMAT:
        raise DamagedError(f"{path} is not a keyring")
    key = _wrapping_key(_root_key(source, parameters, path), salt)
    try:
        opened = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, _bound(salt, parameters), nonce, key)
    except (CryptoError, ValueError, TypeError):
        raise WrongKeyError(f"{path.parent} does not open with this key; nothing was changed") from None
    return Keyring(*(opened[start : start + KEY_BYTES] for start in range(0, len(opened), KEY_BYTES)))


def _root_key(source: KeySource, parameters: object, path: Path) -> bytes:
    try:
        if isinstance(parameters, dict):
            return source.root_key(parameters)
    except (KeyError, TypeError, ValueError):
        # Parameters are proven genuine only by the key that they lead to.
        pass
    raise DamagedError(f"{path} is not a keyring")


def wrap_keyring(folder: Path, keyring: Keyring, source: KeySource, *, files: FileLayer = OS_FILES) -> None:
    """Keep these keys in `folder`, wrapped by `source`: those of a new box, or of another one that moves in."""
    salt, nonce, parameters = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES), source.parameters()
    key = _wrapping_key(source.root_key(parameters), salt)
    keys = keyring.journal_key + keyring.index_key + keyring.media_key
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(keys, _bound(salt, parameters), nonce, key)
    write_whole(folder / FILE_NAME, pack([_FORMAT, salt, parameters, nonce, sealed]), files)


def write_whole(path: Path, content: bytes, files: FileLayer = OS_FILES) -> None:
    """Put `content` at `path`: a power cut leaves the old file or the new one, never a part."""
    fresh = path.with_name(f"{path.name}.new")
    files.remove(fresh)
    file = files.open(fresh, create=True)
    try:
        file.write(content, 0)
        file.sync()
    finally:
        file.close()
    files.rename(fresh, path)
    # The rename itself lives in the folder; without this it can vanish with the power.
    files.sync_folder(path.parent)


def _bound(salt: bytes, parameters: dict[str, Any]) -> bytes:
    return pack([_FORMAT, salt, parameters])


def _wrapping_key(root_key: bytes, salt: bytes) -> bytes:
    return hashlib.blake2b(salt, key=root_key, person=b"doorstep-wrap", digest_size=KEY_BYTES).digest()


def check_kind(parameters: dict[str, Any], kind: str) -> None:
    """Raise ConfigError where a keyring was made with another kind of source."""
    if parameters.get("kind") != kind:
        raise ConfigError(f"this box is sealed with a {parameters.get('kind')}, not with a {kind}")
