"""The root page: which segments are in use, their keys, the boot number.

There are two copies, written in turn; the newest valid one wins. The format is that of the whole state folder: a
release reads no page, and so touches nothing, of a format it does not know.

magic 4 | format u16 | reserved u16 | sequence u64 | nonce 24 | sealed body | tag 16, 4096 bytes in all
"""

import dataclasses
import struct
from typing import Any

from nacl import bindings
from nacl.exceptions import CryptoError

from relay.store.packing import pack, unpack
from relay.store.tables import STATE_FORMAT

PAGE_BYTES = 4096
_MAGIC = b"DSr1"
_HEADER = struct.Struct("<4sHHQ24s")
_LENGTH = struct.Struct("<I")
_BODY_BYTES = PAGE_BYTES - _HEADER.size - 16


@dataclasses.dataclass(frozen=True, slots=True)
class SegmentUse:
    """One use of one segment file, with the key of just this use."""

    use: int
    slot: int
    key: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Root:
    """What must be known before the first frame can be read.

    Attributes:
        sequence: counts root pages.
        boot: counts starts.
        floor: every change of this boot has a number above it; no earlier boot ever showed one.
        released: the commit sequence up to which the index was durable when segments were last given back.
        next_use: the number the next use of a segment gets.
        uses: the segments that hold frames, oldest first.
        format: the format of the state folder this root belongs to.
    """

    sequence: int
    boot: int
    floor: int
    released: int
    next_use: int
    uses: tuple[SegmentUse, ...]
    format: int = STATE_FORMAT


def seal_root(root: Root, key: bytes, nonce: bytes) -> bytes:
    """Return the page of `root`, sealed with `key` (32 bytes) under a fresh random `nonce` (24 bytes)."""
    fields = [root.boot, root.floor, root.released, root.next_use, [[u.use, u.slot, u.key] for u in root.uses]]
    packed = pack(fields)
    body = _LENGTH.pack(len(packed)) + packed
    header = _HEADER.pack(_MAGIC, root.format, 0, root.sequence, nonce)
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(body.ljust(_BODY_BYTES, b"\0"), header, nonce, key)
    return header + sealed


def page_format(page: bytes) -> int | None:
    """Return the format that `page` claims to be of, authenticated by nothing, or None where it is no root page."""
    if len(page) != PAGE_BYTES:
        return None
    magic, format_number, *_ = _HEADER.unpack_from(page)
    return format_number if magic == _MAGIC else None


def open_root(page: bytes, key: bytes, newest_format: int = STATE_FORMAT) -> Root | None:
    """Return the root in `page`, None where it is torn, empty, sealed with another key or of a newer format."""
    format_number = page_format(page)
    if format_number is None or format_number > newest_format:
        return None
    header = page[: _HEADER.size]
    _, _, _, sequence, nonce = _HEADER.unpack(header)
    try:
        body = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(page[_HEADER.size :], header, nonce, key)
    except CryptoError:
        return None
    (length,) = _LENGTH.unpack_from(body)
    fields: list[Any] = unpack(body[_LENGTH.size : _LENGTH.size + length])
    boot, floor, released, next_use, uses = fields
    return Root(sequence, boot, floor, released, next_use, tuple(SegmentUse(*use) for use in uses), format_number)
