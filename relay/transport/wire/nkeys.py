"""NATS user keys: Ed25519 seeds and public keys in their text form, and the answer to a server's nonce.

Source: github.com/nats-io/nkeys, README and "strkey": base32 without padding of prefix, 32 bytes and a CRC-16 (XMODEM,
little-endian). The prefix of a seed is two bytes that hold two prefixes of five bits: seed, and whose it is.
"""

import base64
import binascii
import dataclasses

from relay.base.errors import ConfigError

_SEED = 18 << 3
_USER = 20 << 3
_SEED_BYTES = 32


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class UserKey:
    """The key of one NATS user."""

    seed: bytes

    @property
    def public(self) -> str:
        """Return the public key as servers are told it: `U...`."""
        from nacl.signing import SigningKey

        return _encode(bytes([_USER]) + bytes(SigningKey(self.seed).verify_key))

    def answer(self, nonce: str) -> str:
        """Return the signature of a server's nonce, as CONNECT holds it."""
        from nacl.signing import SigningKey

        signature = SigningKey(self.seed).sign(nonce.encode()).signature
        return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


def parse_seed(text: str) -> UserKey:
    """Return the key of a seed, `SU...`.

    Raises:
        ConfigError: it is not the seed of a user.
    """
    try:
        raw = base64.b32decode(text.strip() + "=" * (-len(text.strip()) % 8))
    except (binascii.Error, ValueError):
        raise ConfigError("the NATS seed is not base32") from None
    body, check = raw[:-2], raw[-2:]
    if len(body) != 2 + _SEED_BYTES or binascii.crc_hqx(body, 0).to_bytes(2, "little") != check:
        raise ConfigError("the NATS seed is not complete, or a letter is wrong")
    if body[0] & 0xF8 != _SEED or ((body[0] & 7) << 5 | body[1] >> 3) != _USER:
        raise ConfigError("this is not the seed of a NATS user: it begins with SU")
    return UserKey(body[2:])


def _encode(body: bytes) -> str:
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).rstrip(b"=").decode()
