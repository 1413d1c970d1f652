"""Canonical JSON, and the JSON parser of both Matrix doors.

Source: Matrix specification v1.19, Appendices, "Canonical JSON". orjson sorts keys by their UTF-8 bytes, which is
the order of code points, and writes the shortest escapes the grammar allows.
"""

import json
import re
from typing import Any

import orjson

from relay.base.errors import InvalidInputError, NotJsonError, TooLargeError
from relay.base.limits import MAX_JSON_DEPTH, MAX_JSON_VALUES

_STRICT = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_LONG_NUMBER = re.compile(rb"[0-9]{20}")
_SCALARS = frozenset({str, int, bool, type(None)})


class NotCanonicalError(InvalidInputError):
    """The value has no canonical form: a float, a large integer, a lone surrogate, or it is nested too deeply."""

    code = "json.not_canonical"


def encode(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical form of a JSON value.

    Raises:
        NotCanonicalError: it holds a float, an integer beyond +-(2^53 - 1), a lone surrogate, a key that is no
            string, something that is not JSON, or is nested deeper than `MAX_JSON_DEPTH`.
    """
    if type(value) not in _SCALARS:
        _check(value, MAX_JSON_DEPTH)
    return encode_checked(value)


def encode_checked(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical form of a value whose parts `encode` has accepted before: the search for floats is left out.

    Raises:
        NotCanonicalError: orjson refuses it.
    """
    try:
        return orjson.dumps(value, option=_STRICT)
    except TypeError as error:
        raise NotCanonicalError(f"not canonical JSON: {error}") from None


def encode_lenient(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the canonical form with floats and large integers in it, as most servers write them.

    Only for verifying what peers signed: real servers sign request bodies with floats, and one odd number must not
    cut a peer off. The form of such numbers is Python's, which is the form of the servers that sign them.

    Raises:
        NotCanonicalError: it is not JSON, holds a lone surrogate, or is nested deeper than `MAX_JSON_DEPTH`.
    """
    try:
        return encode(value)
    except NotCanonicalError:
        _check(value, MAX_JSON_DEPTH, also=float)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise NotCanonicalError(f"not JSON: {error}") from None


def parse(body: bytes, most_values: int = MAX_JSON_VALUES) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a JSON text.

    Raises:
        NotJsonError: it is not JSON in UTF-8.
        NotCanonicalError: it is nested deeper than `MAX_JSON_DEPTH`.
        TooLargeError: it may hold more than `most_values` values.
    """
    # An empty list is 3 bytes of text and 64 of memory: length alone bounds nothing.
    if len(body) > most_values and sum(map(body.count, (b",", b"[", b"{"))) > most_values:
        raise TooLargeError(f"the JSON holds more than {most_values} values")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJsonError(f"not JSON: {error}") from None
    # Counting bytes is cheap; only a text with many brackets is worth a walk.
    if body.count(b"[") + body.count(b"{") > MAX_JSON_DEPTH:
        _check(value, MAX_JSON_DEPTH, also=float)
    if _LONG_NUMBER.search(body):
        # orjson makes floats of integers beyond 64 bits; a signature may cover one, so its digits must survive.
        value = json.loads(body)
    return value


def parse_object(body: bytes, most_values: int = MAX_JSON_VALUES) -> dict[str, Any]:
    """Return the value of a JSON text that must be an object.

    Raises:
        NotJsonError: it is not JSON in UTF-8.
        InvalidInputError: it is another kind of value, or is nested too deeply.
        TooLargeError: as `parse`.
    """
    value = parse(body, most_values)
    if not isinstance(value, dict):
        raise InvalidInputError("the body is not a JSON object")
    return value


def _check(value: object, levels: int, also: type | None = None) -> None:
    """Refuse what orjson would let through: floats (unless `also` is float), odd types, deep nesting."""
    kind = type(value)
    children: Any
    if kind is dict:
        children = value.values()  # type: ignore[attr-defined]
    elif kind is list or kind is tuple:
        children = value
    elif kind in _SCALARS or kind is also:
        return
    else:
        raise NotCanonicalError(f"a {kind.__name__} has no canonical form")
    if levels == 0:
        raise NotCanonicalError(f"nested deeper than {MAX_JSON_DEPTH} levels")
    for child in children:
        if type(child) not in _SCALARS:
            _check(child, levels - 1, also)
