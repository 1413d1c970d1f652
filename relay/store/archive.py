"""A backup archive as bytes: a header and sealed frames, sans-IO, both ways.

    magic 8 | format u16 | key parameters 36 | stream header 24 | checksum 4     then frames: length u32 | sealed

A frame is one message of libsodium's secretstream (XChaCha20-Poly1305), the header authenticated with the first; frames
can be neither dropped, swapped nor cut off: the last one is tagged as such. Inside, after one byte that says whether
zlib was used, stands a stream of msgpack lists, the records. Nothing of a frame is believed before its tag fits.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]
from nacl import bindings, exceptions

from relay.base.errors import DamagedError, WrongKeyError
from relay.base.limits import KIB, MAX_ARCHIVE_RECORD_BYTES
from relay.store.archive_key import PARAMETERS_BYTES, ArchiveKey, KeyParameters, check_of
from relay.store.packing import pack

MAGIC = b"DSbackup"
FORMAT = 1
_FORMAT = struct.Struct("<H")
_STREAM_BYTES = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_CHECKSUM_BYTES = 4
HEADER_BYTES = len(MAGIC) + _FORMAT.size + PARAMETERS_BYTES + _STREAM_BYTES + _CHECKSUM_BYTES
_LENGTH = struct.Struct("<I")
_FRAME_BYTES = 128 * KIB
_TAG_BYTES = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
_MESSAGE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_RAW, _ZLIB = b"\0", b"\1"
# A quarter larger than at level 6, three times as fast on a small core.
_LEVEL = 3


class ArchiveWriter:
    """Seals records; bytes come out in pieces of about 128 KiB."""

    def __init__(self, key: ArchiveKey) -> None:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        stream = bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key.key)
        header = MAGIC + _FORMAT.pack(FORMAT) + key.parameters.pack() + stream
        self._header: bytes | None = header + _checksum(header)
        self._out = bytearray(self._header)
        self._waiting = bytearray()
        self._squeeze = True

    def add(self, record: Sequence[Any], *, squeeze: bool = True) -> bytes:
        """Take a record, a list of msgpack values; return the bytes that are ready, often none.

        `squeeze` False: what it holds is sealed already, compressing it would only cost time.
        """
        if squeeze != self._squeeze:
            self._seal_waiting()
            self._squeeze = squeeze
        self._waiting += pack(record)
        while len(self._waiting) >= _FRAME_BYTES:
            self._seal_waiting()
        return self._take()

    def finish(self) -> bytes:
        """Return the last bytes; without them the archive counts as cut off."""
        while len(self._waiting) > _FRAME_BYTES:
            self._seal_waiting()
        self._seal_waiting(_FINAL)
        return self._take()

    def _seal_waiting(self, tag: int = _MESSAGE) -> None:
        if not self._waiting and tag == _MESSAGE:
            return
        plain = bytes(self._waiting[:_FRAME_BYTES])
        del self._waiting[:_FRAME_BYTES]
        body = _ZLIB + zlib.compress(plain, _LEVEL) if self._squeeze else _RAW + plain
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(self._state, body, self._header, tag)
        self._header = None
        self._out += _LENGTH.pack(len(sealed)) + sealed

    def _take(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out


class ArchiveReader:
    """Opens what `ArchiveWriter` sealed, however the bytes are cut.

    Attributes:
        offset: where the frame begins that is awaited.
        ended: whether the last frame was there.
    """

    def __init__(self, unlock: Callable[[KeyParameters], bytes]) -> None:
        self._unlock = unlock
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        self._waiting = bytearray()
        self._header: bytes | None = None
        self._opened = False
        self._unpacker = msgpack.Unpacker(max_buffer_size=MAX_ARCHIVE_RECORD_BYTES, strict_map_key=False)
        self.offset = 0
        self.ended = False

    def feed(self, data: bytes) -> list[list[Any]]:
        """Return the records that `data` completes.

        Raises:
            DamagedError: the archive was changed or is none; the message names the byte where the damaged piece begins.
            WrongKeyError: it was sealed with another key.
            ConfigError: it was sealed with another kind of key.
        """
        self._waiting += data
        records: list[list[Any]] = []
        if not self._opened and not self._open_header():
            return records
        while (frame := self._next_frame()) is not None:
            records += self._open_frame(frame)
        if self.ended and self._waiting:
            raise DamagedError(f"the backup ended at byte {self.offset}, and something follows")
        return records

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            DamagedError: the archive has not ended.
        """
        if not self.ended:
            raise DamagedError(f"the backup is cut off: the piece that begins at byte {self.offset} is not whole")

    def _open_header(self) -> bool:
        magic = bytes(self._waiting[: len(MAGIC)])
        if not MAGIC.startswith(magic):
            raise DamagedError("this is not a backup of this software: it does not begin like one, at byte 0")
        if len(self._waiting) < HEADER_BYTES:
            return False
        header = bytes(self._waiting[:HEADER_BYTES])
        if header[-_CHECKSUM_BYTES:] != _checksum(header[:-_CHECKSUM_BYTES]):
            raise DamagedError(f"the header of the backup is damaged: bytes 0 to {HEADER_BYTES - 1}")
        (number,) = _FORMAT.unpack_from(header, len(MAGIC))
        if number != FORMAT:
            raise DamagedError(f"the backup has format {number}, this release knows {FORMAT}: use a newer release")
        start = len(MAGIC) + _FORMAT.size
        try:
            parameters = KeyParameters.unpack(header[start : start + PARAMETERS_BYTES])
        except ValueError as error:
            raise DamagedError(f"the header of the backup, bytes 0 to {HEADER_BYTES - 1}: {error}") from None
        key = self._unlock(parameters)
        if check_of(key) != parameters.check:
            raise WrongKeyError("the backup does not open with this key")
        stream = header[start + PARAMETERS_BYTES : -_CHECKSUM_BYTES]
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, stream, key)
        del self._waiting[:HEADER_BYTES]
        self._header, self._opened, self.offset = header, True, HEADER_BYTES
        return True

    def _next_frame(self) -> bytes | None:
        if self.ended or len(self._waiting) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._waiting)
        # What cannot be compressed grows a little.
        if not _TAG_BYTES < length <= _FRAME_BYTES + _FRAME_BYTES // 8:
            raise self._damaged()
        if len(self._waiting) < _LENGTH.size + length:
            return None
        return bytes(self._waiting[_LENGTH.size : _LENGTH.size + length])

    def _open_frame(self, frame: bytes) -> list[list[Any]]:
        try:
            body, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, frame, self._header)
        except exceptions.CryptoError:
            raise self._damaged() from None
        records = self._unpack(_expand(body))
        # After whole records a lone nil is a lone nil.
        if records is None or (tag == _FINAL and self._unpack_values(b"\xc0") != [None]):
            raise self._damaged()
        self._header, self.ended = None, tag == _FINAL
        self.offset += _LENGTH.size + len(frame)
        del self._waiting[: _LENGTH.size + len(frame)]
        return records

    def _unpack(self, plain: bytes | None) -> list[list[Any]] | None:
        records = None if plain is None else self._unpack_values(plain)
        if records is None or not all(isinstance(record, list) and record for record in records):
            return None
        return records

    def _unpack_values(self, plain: bytes) -> list[Any] | None:
        try:
            self._unpacker.feed(plain)
            return list(self._unpacker)
        except (ValueError, msgpack.UnpackException):
            return None

    def _damaged(self) -> DamagedError:
        return DamagedError(f"the backup is damaged in the piece that begins at byte {self.offset}")


def _expand(body: bytes) -> bytes | None:
    """Return the content of a frame, None where it is none."""
    if body[:1] == _RAW:
        return body[1:]
    if body[:1] != _ZLIB:
        return None
    engine = zlib.decompressobj()
    try:
        # One more than there can be: at the limit it would not say that it ended.
        plain = engine.decompress(body[1:], _FRAME_BYTES + 1)
    except zlib.error:
        return None
    return plain if engine.eof else None


def _checksum(header: bytes) -> bytes:
    return hashlib.blake2b(header, digest_size=_CHECKSUM_BYTES).digest()
