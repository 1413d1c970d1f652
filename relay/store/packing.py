"""msgpack with types: the one place the store packs and unpacks."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]


def pack(values: Sequence[Any]) -> bytes:
    """Return `values` packed.

    Raises:
        ValueError: a text is not Unicode.
        OverflowError: a number is beyond 64 bits.
        TypeError: a value is of a type that has no packed form.
    """
    packed: bytes = msgpack.packb(values)
    return packed


def unpack(packed: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    """Return what `pack` was given, tuples as lists.

    Raises:
        ValueError: these are not packed values.
    """
    try:
        return msgpack.unpackb(packed)
    except msgpack.UnpackException as error:
        raise ValueError(f"not packed values: {error}") from None


def unpack_all(packed: bytes) -> Iterator[Any]:
    """Yield each of several packed values standing one after another."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(packed)
    yield from unpacker
