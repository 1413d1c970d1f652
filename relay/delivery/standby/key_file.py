"""The standby key as a line of text: for a file, a password safe, or a piece of paper."""

import base64
import binascii
import hashlib
from pathlib import Path

from relay.base.errors import ConfigError
from relay.delivery.standby.envelope import KEY_BYTES

_NAME = "doorstep-standby-1"
_CHECK_BYTES = 3


def render_key(key: bytes) -> str:
    """Return the line; its last letters tell a slip of the pen from another key."""
    text = base64.b32encode(key + _check(key)).decode()
    return f"{_NAME} {'-'.join(text[start : start + 8] for start in range(0, len(text), 8))}"


def read_key(path: Path) -> bytes:
    """Return the key in a file.

    Raises:
        ConfigError: there is none in it; nothing of it is shown.
    """
    try:
        text = path.read_text("ascii")
    except OSError as error:
        raise ConfigError(f"the standby key {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a standby key") from None
    name, _, letters = text.strip().partition(" ")
    if name != _NAME:
        raise ConfigError(f"{path} is not a standby key: relay standby key --to FILE on the first box makes one")
    try:
        raw = base64.b32decode("".join(letters.split()).replace("-", ""), casefold=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"the standby key in {path} is not complete") from None
    key, check = raw[:KEY_BYTES], raw[KEY_BYTES:]
    if len(key) != KEY_BYTES or check != _check(key):
        raise ConfigError(f"a letter of the standby key in {path} is wrong")
    return key


def _check(key: bytes) -> bytes:
    return hashlib.blake2b(key, person=b"doorstep-check", digest_size=_CHECK_BYTES).digest()
