"""One journal frame: a sealed piece of one commit, padded to whole 4 KiB blocks.

    magic 4 | blocks u32 | use u64 | sequence u64 | part u16 | parts u16 | reserved u32 | sealed body | tag 16

The header is authenticated with the body (XChaCha20-Poly1305). The body is the payload's length, the payload and zeros,
so a stolen card shows sizes only to 4 KiB. A key belongs to one use of one segment and the nonce is (use, sequence,
part), so no nonce meets a key twice: a commit that failed is written again only on another segment.
"""

import dataclasses
import struct

from nacl import bindings
from nacl.exceptions import CryptoError

from relay.base.limits import MAX_CHANGE_FRAME_BYTES

BLOCK_BYTES = 4096
KEY_BYTES = 32
_MAGIC = b"DSj1"
_HEADER = struct.Struct("<4sIQQHHI")
HEADER_BYTES = _HEADER.size
_LENGTH = struct.Struct("<I")
_TAG_BYTES = 16
_OVERHEAD_BYTES = HEADER_BYTES + _LENGTH.size + _TAG_BYTES
MAX_PAYLOAD_BYTES = MAX_CHANGE_FRAME_BYTES - _OVERHEAD_BYTES
MAX_PARTS = 0xFFFF


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a frame says of itself before it is authenticated."""

    use: int
    sequence: int
    part: int
    parts: int
    total_bytes: int


def sealed_bytes(payload_bytes: int) -> int:
    """Return the size on flash of a frame with a payload of `payload_bytes`."""
    return -(-(payload_bytes + _OVERHEAD_BYTES) // BLOCK_BYTES) * BLOCK_BYTES


def frame_sizes(payload_bytes: int) -> list[int]:
    """Return the sizes on flash of the frames of a commit of `payload_bytes`."""
    whole, rest = divmod(payload_bytes, MAX_PAYLOAD_BYTES)
    sizes = [MAX_CHANGE_FRAME_BYTES] * whole
    return [*sizes, sealed_bytes(rest)] if rest or not whole else sizes


def split_payload(payload: bytes) -> list[bytes]:
    """Return `payload` in pieces that fit one frame each; at least one piece.

    Raises:
        ValueError: there would be more pieces than a header can count.
    """
    pieces = [payload[start : start + MAX_PAYLOAD_BYTES] for start in range(0, len(payload), MAX_PAYLOAD_BYTES)]
    if len(pieces) > MAX_PARTS:
        raise ValueError(f"{len(payload)} bytes are more than one commit holds")
    return pieces or [b""]


def seal(payload: bytes, key: bytes, *, use: int, sequence: int, part: int, parts: int) -> bytes:
    """Return the frame of `payload`: a whole number of blocks."""
    total_bytes = sealed_bytes(len(payload))
    header = _HEADER.pack(_MAGIC, total_bytes // BLOCK_BYTES, use, sequence, part, parts, 0)
    padding = bytes(total_bytes - _OVERHEAD_BYTES - len(payload))
    body = _LENGTH.pack(len(payload)) + payload + padding
    nonce = _nonce(use, sequence, part)
    return header + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(body, header, nonce, key)


def read_header(data: bytes) -> Header | None:
    """Return what the first bytes of a block say, None where they are no header."""
    if len(data) < HEADER_BYTES:
        return None
    magic, blocks, use, sequence, part, parts, reserved = _HEADER.unpack_from(data)
    total_bytes = blocks * BLOCK_BYTES
    if magic != _MAGIC or reserved or not 0 < total_bytes <= MAX_CHANGE_FRAME_BYTES or part >= parts:
        return None
    return Header(use, sequence, part, parts, total_bytes)


def claims(data: bytes, use: int, after: int) -> int | None:
    """Return the commit that damaged bytes still name: one of `use`, at or just past commit `after`; None for no trace.

    Two of magic, use and sequence must have survived. What an earlier use of the segment left has older ones.
    """
    if len(data) < HEADER_BYTES:
        return None
    magic, _, found_use, sequence, _, _, _ = _HEADER.unpack_from(data)
    near = after <= sequence <= after + 1
    if (magic == _MAGIC) + (found_use == use) + near < 2:
        return None
    return sequence if magic == _MAGIC and found_use == use else after + 1


def open_frame(frame: bytes, key: bytes) -> bytes | None:
    """Return the payload of a whole frame, None where the tag does not fit: torn, stale or damaged."""
    header = read_header(frame)
    if header is None or len(frame) != header.total_bytes:
        return None
    nonce = _nonce(header.use, header.sequence, header.part)
    try:
        body = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            frame[HEADER_BYTES:], frame[:HEADER_BYTES], nonce, key
        )
    except CryptoError:
        return None
    (length,) = _LENGTH.unpack_from(body)
    return bytes(body[_LENGTH.size : _LENGTH.size + length])


def _nonce(use: int, sequence: int, part: int) -> bytes:
    return struct.pack("<QQQ", use, sequence, part)
