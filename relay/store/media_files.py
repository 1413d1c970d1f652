"""Media files: sealed in chunks, streamed both ways, never whole in memory.

Each file has a random key of its own that only the ledger keeps: a file whose row is gone cannot be opened any more. A
chunk is 64 KiB sealed with XChaCha20-Poly1305; its nonce is (number, last or not), so chunks can be neither swapped nor
cut off. A file appears under its name only when all of it is on flash; the commit that holds its key comes after.
"""

import contextlib
import dataclasses
import hashlib
import secrets
import struct
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from nacl import bindings
from nacl.exceptions import CryptoError

from relay.base.errors import DamagedError, NotFoundError, QueueFullError, StorageError, TooLargeError
from relay.store.files import OS_FILES, File, FileLayer
from relay.store.workers import ThreadWorkers, Workers

CHUNK_BYTES = 64 * 1024

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_TAG_BYTES = 16
_SEALED_CHUNK_BYTES = CHUNK_BYTES + _TAG_BYTES
_PART = ".part"
_ID_BYTES = 16


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class SealedFile:
    """What the ledger keeps of one file; without the key the file is noise."""

    file_id: str
    key: bytes
    size_bytes: int
    sha256: bytes


class MediaWriter:
    """One file on its way in; see `MediaFiles.receive`."""

    def __init__(self, media: "MediaFiles", file_id: str, file: File, limit_bytes: int) -> None:
        self._media = media
        self._file = file
        self._limit_bytes = limit_bytes
        self._key = secrets.token_bytes(32)
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._chunks = 0
        self.file_id = file_id
        self.size_bytes = 0
        self.kept = False

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooLargeError: the file is larger than its limit, or than the quota leaves.
        """
        self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:
            raise TooLargeError(f"media files have at most {self._limit_bytes} bytes")
        self._buffer += data
        # The last chunk is sealed as the last one: one stays behind.
        whole = (len(self._buffer) - 1) // CHUNK_BYTES
        if whole > 0:
            chunks = bytes(self._buffer[: whole * CHUNK_BYTES])
            del self._buffer[: whole * CHUNK_BYTES]
            await self._media.work(self._seal, chunks, False)  # noqa: FBT003 - a worker takes no keywords

    async def keep(self) -> SealedFile:
        """Return what to commit: the file is complete and on flash."""
        await self._media.work(self._finish)
        self.kept = True
        self._media.used_bytes += self.size_bytes
        return SealedFile(self.file_id, self._key, self.size_bytes, self._hash.digest())

    def _seal(self, data: bytes, last: bool) -> None:  # noqa: FBT001 - a worker takes no keywords
        self._hash.update(data)
        for start in range(0, max(len(data), 1), CHUNK_BYTES):
            sealed = _seal_chunk(data[start : start + CHUNK_BYTES], self.file_id, self._key, self._chunks, last=last)
            self._file.write(sealed, self._chunks * _SEALED_CHUNK_BYTES)
            self._chunks += 1

    def _finish(self) -> None:
        self._seal(bytes(self._buffer), True)  # noqa: FBT003 - as above
        self._file.sync()
        self._media.publish(self.file_id)


class MediaFiles:
    """The folder of sealed media files.

    Attributes:
        used_bytes: what kept files take, as far as known: `sweep` counts what is there.
    """

    def __init__(
        self, folder: Path, *, quota_bytes: int, files: FileLayer = OS_FILES, workers: Workers | None = None
    ) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._files = files
        self._workers = workers or ThreadWorkers()
        self.used_bytes = 0

    async def work(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a blocking function in a worker; what the file system refuses is a `StorageError`."""
        try:
            return await self._workers.run(function, *args)
        except OSError as error:
            raise StorageError(f"a media file could not be written or read: {error.strerror}") from error

    @contextlib.asynccontextmanager
    async def receive(self, limit_bytes: int) -> AsyncIterator[MediaWriter]:
        """Take a file in: write, then `keep`; without `keep` nothing stays.

        Raises:
            QueueFullError: the quota is used up.
        """
        left_bytes = self._quota_bytes - self.used_bytes
        if left_bytes <= 0:
            raise QueueFullError(f"media takes {self.used_bytes} bytes; the quota is {self._quota_bytes}")
        file_id = secrets.token_hex(_ID_BYTES)
        file = await self.work(self._create, file_id)
        writer = MediaWriter(self, file_id, file, min(limit_bytes, left_bytes))
        try:
            yield writer
        finally:
            file.close()
            if not writer.kept:
                self._files.remove(self._part(file_id))

    async def read(self, file: SealedFile, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end` (the end of the file unless told).

        Raises:
            NotFoundError: the file is gone.
            DamagedError: a chunk fails its tag or is missing.
        """
        end = file.size_bytes if end is None else min(end, file.size_bytes)
        position = start
        while position < end:
            chunk = await self.work(self._open_chunk, file, position // CHUNK_BYTES)
            begin = position % CHUNK_BYTES
            piece = chunk[begin : begin + end - position]
            if not piece:
                raise DamagedError("a media file is shorter than its row says")
            position += len(piece)
            yield piece

    async def read_sealed(self, file_id: str, start: int, size_bytes: int) -> bytes:
        """Return up to `size_bytes` of a file as it lies on flash, from byte `start`; fewer at its end.

        Raises:
            NotFoundError: the file is gone.
        """
        return await self.work(self._read_sealed, file_id, start, size_bytes)

    async def delete(self, file_id: str) -> None:
        """Remove a file; a missing one is no error."""
        await self.work(self._delete, file_id)

    async def sweep(self, known_file_ids: Collection[str]) -> int:
        """Remove every file that no row names, count the rest; return how many were removed."""
        return await self.work(self._sweep, known_file_ids)

    def publish(self, file_id: str) -> None:
        """Give a synced file its name, on flash."""
        self._files.rename(self._part(file_id), self._path(file_id))
        # The rename itself lives in the folder; without this it can vanish with the power.
        self._files.sync_folder(self._folder)

    def _create(self, file_id: str) -> File:
        self._files.make_folder(self._folder)
        return self._files.open(self._part(file_id), create=True)

    def _read_sealed(self, file_id: str, start: int, size_bytes: int) -> bytes:
        try:
            file = self._files.open(self._path(file_id))
        except FileNotFoundError:
            raise NotFoundError("the media file is gone") from None
        try:
            return file.read(size_bytes, start)
        finally:
            file.close()

    def _delete(self, file_id: str) -> None:
        path = self._path(file_id)
        if self._files.exists(path):
            file = self._files.open(path)
            self.used_bytes = max(0, self.used_bytes - file.size_bytes())
            file.close()
            self._files.remove(path)

    def _sweep(self, known_file_ids: Collection[str]) -> int:
        removed = used_bytes = 0
        for name in self._files.names(self._folder):
            path = self._folder / name
            if name in known_file_ids:
                file = self._files.open(path)
                used_bytes += file.size_bytes()
                file.close()
            else:
                self._files.remove(path)
                removed += 1
        self.used_bytes = used_bytes
        return removed

    def _open_chunk(self, sealed: SealedFile, number: int) -> bytes:
        try:
            file = self._files.open_to_read(self._path(sealed.file_id))
        except FileNotFoundError:
            raise NotFoundError("the media file is gone") from None
        try:
            content = file.read(_SEALED_CHUNK_BYTES, number * _SEALED_CHUNK_BYTES)
        finally:
            file.close()
        last = number == max(sealed.size_bytes - 1, 0) // CHUNK_BYTES
        chunk = _open_chunk(content, sealed.file_id, sealed.key, number, last=last)
        if chunk is None:
            raise DamagedError(f"a media file is damaged at chunk {number}")
        return chunk

    def _path(self, file_id: str) -> Path:
        return self._folder / file_id

    def _part(self, file_id: str) -> Path:
        return self._folder / f"{file_id}{_PART}"


def _seal_chunk(chunk: bytes, file_id: str, key: bytes, number: int, *, last: bool) -> bytes:
    return bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(chunk, file_id.encode(), _nonce(number, last=last), key)


def _open_chunk(sealed: bytes, file_id: str, key: bytes, number: int, *, last: bool) -> bytes | None:
    if len(sealed) < _TAG_BYTES:
        return None
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed, file_id.encode(), _nonce(number, last=last), key
        )
    except CryptoError:
        return None


def _nonce(number: int, *, last: bool) -> bytes:
    return struct.pack("<QB15x", number, last)
