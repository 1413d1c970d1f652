"""What the last backup holds, so that the next one can hold only what changed since: one small sealed file.

It is written beside the old one when a backup is on its way, and takes its place when whoever stores the backup says
that it is kept: an incremental backup never builds on one that was lost.
"""

import dataclasses
import hashlib
import secrets
from pathlib import Path
from typing import Self

from nacl import bindings
from nacl.exceptions import CryptoError

from relay.store.chunks import Picture
from relay.store.files import OS_FILES, FileLayer
from relay.store.packing import pack, unpack

FILE_NAME = "backup.catalogue"
_FRESH = "backup.catalogue.new-"
_MAGIC = b"DSc1"
_NONCE_BYTES = 24
_MEDIA_ID_BYTES = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Catalogue:
    """One backup, as far as the next one needs it.

    Attributes:
        backup_id: 16 random bytes.
        number: 0 for a full backup, then one more for each that builds on it.
        made_ms: when it was made.
        media: the ids of the media files that it and those before it hold.
    """

    backup_id: bytes
    number: int
    made_ms: int
    picture: Picture
    media: frozenset[str]

    def pack(self) -> bytes:
        """Return the catalogue as bytes."""
        media = b"".join(sorted(bytes.fromhex(file_id) for file_id in self.media))
        return pack([self.backup_id, self.number, self.made_ms, self.picture.pack(), media])

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Return the catalogue that `pack` was called on."""
        backup_id, number, made_ms, picture, media = unpack(packed)
        starts = range(0, len(media), _MEDIA_ID_BYTES)
        ids = frozenset(media[start : start + _MEDIA_ID_BYTES].hex() for start in starts)
        return cls(backup_id, number, made_ms, Picture.unpack(picture), ids)


def read_catalogue(folder: Path, index_key: bytes, files: FileLayer = OS_FILES) -> Catalogue | None:
    """Return the catalogue of the last kept backup; None where none can be read: then a full one is due."""
    path = folder / FILE_NAME
    if not files.exists(path):
        return None
    file = files.open(path)
    content = file.read(file.size_bytes(), 0)
    file.close()
    head = len(_MAGIC) + _NONCE_BYTES
    try:
        packed = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            content[head:], content[: len(_MAGIC)], content[len(_MAGIC) : head], _key(index_key)
        )
        return Catalogue.unpack(packed)
    except (CryptoError, ValueError, TypeError):
        return None


def write_catalogue(folder: Path, index_key: bytes, catalogue: Catalogue, files: FileLayer = OS_FILES) -> None:
    """Put the catalogue of a backup on its way beside that of the last kept one."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(catalogue.pack(), _MAGIC, nonce, _key(index_key))
    for name in files.names(folder):
        if name.startswith(_FRESH):
            files.remove(folder / name)
    file = files.open(folder / f"{_FRESH}{catalogue.backup_id.hex()}", create=True)
    try:
        file.write(_MAGIC + nonce + sealed, 0)
        file.sync()
    finally:
        file.close()


def keep_catalogue(folder: Path, backup_id: bytes, files: FileLayer = OS_FILES) -> None:
    """The backup is kept: the next one may build on it, unless one that was made meanwhile is ahead of it."""
    fresh = folder / f"{_FRESH}{backup_id.hex()}"
    if files.exists(fresh):
        files.rename(fresh, folder / FILE_NAME)
        files.sync_folder(folder)


def _key(index_key: bytes) -> bytes:
    return hashlib.blake2b(key=index_key, person=b"doorstep-catalog", digest_size=32).digest()
