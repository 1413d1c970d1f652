"""Base64 without padding. Source: Matrix specification v1.19, Appendices, "Unpadded Base64"."""

import binascii

from relay.base.errors import InvalidInputError

_FROM_URL = str.maketrans("-_", "+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")


def encode(data: bytes) -> str:
    """Return base64 with the standard alphabet and no padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")


def encode_url(data: bytes) -> str:
    """Return base64 with the URL-safe alphabet and no padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of base64 in either alphabet, padded or not.

    Raises:
        InvalidInputError: it is not base64.
    """
    stripped = text.rstrip("=").translate(_FROM_URL)
    try:
        return binascii.a2b_base64(stripped.encode("ascii") + b"=" * (-len(stripped) % 4), strict_mode=True)
    except ValueError:
        raise InvalidInputError("not base64") from None
