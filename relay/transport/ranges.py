"""Byte ranges of media: which part of a body a `Range` header asks for."""

import re

from relay.base.errors import InvalidInputError

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*")


class UnsatisfiableRangeError(InvalidInputError):
    """The range starts behind the end; answer 416 with `Content-Range: bytes */LENGTH`."""

    code = "input.range"


def parse_range(header: str | None, length_bytes: int) -> tuple[int, int] | None:
    """Return (start, end) of the part asked for, `end` not included, or None for the whole.

    Several ranges, other units and malformed headers mean the whole: a server may always ignore them.

    Raises:
        UnsatisfiableRangeError: nothing of the range exists.

    Source: RFC 9110, "Range Requests".
    """
    found = _ONE_RANGE.fullmatch(header) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, length_bytes - int(last)), length_bytes
    else:
        start, end = int(first), min(int(last) + 1, length_bytes) if last else length_bytes
        if last and int(last) < start:
            return None
    if start >= length_bytes or start >= end:
        raise UnsatisfiableRangeError(f"the body has {length_bytes} bytes")
    return start, end


def render_content_range(start: int, end: int, length_bytes: int) -> str:
    """Return the `Content-Range` value of the part from `start` to before `end`."""
    return f"bytes {start}-{end - 1}/{length_bytes}"
