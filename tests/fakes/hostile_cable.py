"""A cable that damages what it carries: seeded, so that what it did once it does again."""

import hashlib
from collections.abc import Iterator


def noise(seed: int, count: int) -> bytes:
    """Return `count` bytes that look like chance and are the same each time."""
    return hashlib.shake_128(str(seed).encode()).digest(count)


class HostileCable:
    """Carries bytes one way; one byte in about `one_in` (up to 65536) is dropped, doubled or has a bit flipped."""

    def __init__(self, seed: int, *, one_in: int) -> None:
        self._seed = seed
        self._threshold = 65_536 // one_in
        self._carried = 0
        self.faults = 0

    def carry(self, data: bytes) -> bytes:
        """Return what arrives of `data`."""
        return b"".join(self._carry(data))

    def _carry(self, data: bytes) -> Iterator[bytes]:
        self._carried += 1
        dice = noise(self._seed * 1_000_003 + self._carried, 4 * len(data))
        for place, number in enumerate(data):
            first, second, kind, bit = dice[4 * place : 4 * place + 4]
            byte = bytes([number])
            if first * 256 + second >= self._threshold:
                yield byte
                continue
            self.faults += 1
            if kind % 3 == 0:
                yield byte * 2
            elif kind % 3 == 1:
                yield bytes([number ^ 1 << bit % 8])
