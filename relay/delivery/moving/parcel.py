"""Records as a text, so that they travel in one line between the box and whoever seals or opens them."""

import base64
import binascii
import zlib
from typing import Any

from relay.base.errors import InvalidInputError
from relay.base.limits import MAX_PARCEL_BYTES
from relay.household.luggage import Record
from relay.store.packing import pack, unpack


def wrap(records: list[Record]) -> str:
    """Return `records` as a text."""
    return base64.b64encode(zlib.compress(pack(records), 1)).decode("ascii")


def unwrap(text: str) -> list[Record]:
    """Return what `wrap` was given.

    Raises:
        InvalidInputError: the text is none of those, or longer than `MAX_PARCEL_BYTES` inside.
    """
    try:
        engine = zlib.decompressobj()
        packed = engine.decompress(base64.b64decode(text, validate=True), MAX_PARCEL_BYTES)
        found: Any = unpack(packed) if engine.eof else None
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InvalidInputError(f"these are no packed records: {error}") from None
    if not isinstance(found, list) or not all(isinstance(record, list) and record for record in found):
        raise InvalidInputError("these are no packed records")
    return found
