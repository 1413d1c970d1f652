"""What the standby's target holds: sealed envelopes whose heads can be read by anybody and forged by nobody.

    magic 4 | kind u8 | part u16 | parts u16 | reserved 3 | box 8 | chain 8 | start 8 | first u64 | last u64 |
    newest u64 | at_ms u64 | held u64 | check 8 | nonce 24 | sealed

The head is authenticated with the body (XChaCha20-Poly1305) under a key derived from the standby key and the box's id.
The body is compressed, and cut into parts where it is larger than an entry may be.
"""

import dataclasses
import enum
import hashlib
import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from nacl import bindings
from nacl.exceptions import CryptoError

from relay.base.errors import DamagedError, WrongKeyError
from relay.base.limits import MAX_STANDBY_BODY_BYTES
from relay.store.packing import pack, unpack

ID_BYTES = 8
KEY_BYTES = 32
_MAGIC = b"DSs1"
_HEAD = struct.Struct("<4sBHH3x8s8s8sQQQQQ8s24s")
OVERHEAD_BYTES = _HEAD.size + 16
_MAX_PARTS = 4096
_LEVEL = 3


class ForeignEnvelopeError(WrongKeyError):
    """It was sealed by another box, or with another standby key."""

    code = "standby.foreign"


class Kind(enum.IntEnum):
    """What an envelope holds."""

    FRAME = 1
    PIECE = 2
    WHOLE = 3
    BEAT = 4
    KEPT = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands on the outside.

    Attributes:
        chain: commits of one chain follow each other without a gap, wherever they were sent from.
        start: the start of the box in which it was sent.
        first, last: the commits in a frame; the number and the log of a piece.
        newest: the last commit the box had when it sent this.
        at_ms: when that was, by the box's clock.
        held: what frames since the last base take at the target, in bytes.
        check: of the last commit: tells apart two histories that count alike.
    """

    kind: Kind
    chain: bytes = bytes(ID_BYTES)
    start: bytes = bytes(ID_BYTES)
    first: int = 0
    last: int = 0
    newest: int = 0
    at_ms: int = 0
    held: int = 0
    check: bytes = bytes(ID_BYTES)


class Sealer:
    """Seals and opens the envelopes of one box."""

    def __init__(self, standby_key: bytes, box: bytes) -> None:
        self.box = box
        self._key = hashlib.blake2b(box, key=standby_key, person=b"doorstep-standby", digest_size=KEY_BYTES).digest()
        self.chunk_key = hashlib.blake2b(key=standby_key, person=b"doorstep-chunks", digest_size=16).digest()

    def check(self, payload: bytes) -> bytes:
        """Return 8 bytes that tell `payload` from others to those who have the key."""
        return hashlib.blake2b(payload, key=self._key, person=b"doorstep-check", digest_size=ID_BYTES).digest()

    def seal(self, head: Head, values: Sequence[Any], limit_bytes: int) -> list[bytes]:
        """Return `values` in as many envelopes as it takes, each of `limit_bytes` or less.

        Raises:
            ValueError: it takes more than there can be.
        """
        body = zlib.compress(pack(values), _LEVEL)
        size = limit_bytes - OVERHEAD_BYTES
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        if len(parts) > _MAX_PARTS:
            raise ValueError(f"{len(body)} bytes are more than {_MAX_PARTS} entries hold")
        return [self._seal(head, part, number, len(parts)) for number, part in enumerate(parts)]

    def open(self, data: bytes, kind: Kind) -> "Opened":
        """Return one envelope's head and its part of the body.

        Raises:
            ForeignEnvelopeError: it is another box's.
            DamagedError: it is not whole, or not of this kind, or the standby key is another.
        """
        head, part, parts, box, nonce = _read(data)
        if box != self.box:
            raise ForeignEnvelopeError(f"it is of box {box.hex()}, not of {self.box.hex()}")
        try:
            body = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                data[_HEAD.size :], data[: _HEAD.size], nonce, self._key
            )
        except CryptoError:
            raise DamagedError("it is damaged, or was sealed with another standby key") from None
        if head.kind != kind:
            raise DamagedError(f"it is a {head.kind.name.lower()} where a {kind.name.lower()} belongs")
        return Opened(head, part, parts, bytes(body))

    def open_whole(self, data: bytes, kind: Kind) -> tuple[Head, Any]:
        """Return head and values of something that has only one part; raises as `open`."""
        found = list(Joiner(self, kind).feed(data))
        if not found:
            raise DamagedError("a part of it is missing")
        return found[0]

    def _seal(self, head: Head, part: bytes, number: int, parts: int) -> bytes:
        nonce = secrets.token_bytes(24)
        outside = _HEAD.pack(
            _MAGIC,
            head.kind,
            number,
            parts,
            self.box,
            head.chain,
            head.start,
            head.first,
            head.last,
            head.newest,
            head.at_ms,
            head.held,
            head.check,
            nonce,
        )
        return outside + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(part, outside, nonce, self._key)


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """One envelope, opened."""

    head: Head
    part: int
    parts: int
    body: bytes


class Joiner:
    """Puts the parts of bodies together again."""

    def __init__(self, sealer: Sealer, kind: Kind) -> None:
        self._sealer = sealer
        self._kind = kind
        self._parts: list[bytes] = []
        self._head: Head | None = None

    def feed(self, data: bytes) -> Iterator[tuple[Head, Any]]:
        """Yield head and values once the last part is here.

        A body that breaks off was sent again from its first part.

        Raises:
            ForeignEnvelopeError, DamagedError: as `Sealer.open`.
        """
        opened = self._sealer.open(data, self._kind)
        if opened.part == 0:
            self._parts, self._head = [], opened.head
        if opened.part != len(self._parts) or self._head is None or _span(opened.head) != _span(self._head):
            return
        self._parts.append(opened.body)
        if len(self._parts) == opened.parts:
            body, self._parts = b"".join(self._parts), []
            yield self._head, _unpack(body)


def read_head(data: bytes) -> tuple[Head, bytes]:
    """Return what an envelope says on the outside, and the id of its box; whether it is true only its key tells.

    Raises:
        DamagedError: this is no envelope.
    """
    head, _, _, box, _ = _read(data)
    return head, box


def box_id(journal_key: bytes) -> bytes:
    """Return the public id of a state folder: each folder's keys are its own, also after a restore."""
    return hashlib.blake2b(key=journal_key, person=b"doorstep-box", digest_size=ID_BYTES).digest()


def _read(data: bytes) -> tuple[Head, int, int, bytes, bytes]:
    if len(data) < OVERHEAD_BYTES:
        raise DamagedError(f"it has {len(data)} bytes; nothing that a box sends is so short")
    magic, kind, part, parts, box, chain, start, first, last, newest, at_ms, held, check, nonce = _HEAD.unpack_from(
        data
    )
    if magic != _MAGIC or kind not in Kind.__members__.values() or not part < parts <= _MAX_PARTS:
        raise DamagedError("it is nothing that a box sends")
    head = Head(
        kind=Kind(kind),
        chain=chain,
        start=start,
        first=first,
        last=last,
        newest=newest,
        at_ms=at_ms,
        held=held,
        check=check,
    )
    return head, part, parts, box, nonce


def _span(head: Head) -> tuple[bytes, int, int]:
    return head.chain, head.first, head.last


def _unpack(body: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    expander = zlib.decompressobj()
    try:
        packed = expander.decompress(body, MAX_STANDBY_BODY_BYTES)
        if not expander.eof:
            raise DamagedError(f"it is not whole, or larger than {MAX_STANDBY_BODY_BYTES} bytes")
        return unpack(packed)
    except (zlib.error, ValueError):
        raise DamagedError("it does not hold what a box sends") from None
