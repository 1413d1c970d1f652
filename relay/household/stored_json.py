"""JSON as the household stores it: what goes in comes out again, to the last digit, and fits every answer.

Numbers beyond 64 bits fit none: they are refused where they come in.
"""

from typing import Any

import orjson

from relay.base.errors import InvalidInputError


def pack(value: object) -> bytes:
    """Return `value` as bytes, the same ones for equal objects.

    Raises:
        InvalidInputError: it holds an integer beyond 64 bits, half a character, or is nested too deeply.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError) as error:
        raise InvalidInputError(f"this JSON cannot be stored: {error}") from None


def unpack(stored: bytes) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value that `pack` was given."""
    return orjson.loads(stored)
