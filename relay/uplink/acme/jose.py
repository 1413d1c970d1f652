"""Keys and signed requests as ACME wants them: ES256, flattened JWS, always with nonce and URL.

Source: RFC 8555, 6.2 (request authentication), 8.1 (key authorizations); RFC 7515; RFC 7518, 3.4; RFC 7638.
"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from relay.base.errors import InvalidInputError

_COORDINATE_BYTES = 32

Key = ec.EllipticCurvePrivateKey


class Binding(NamedTuple):
    """What ties an account here to one that was made elsewhere: the name of a key, and the key."""

    key_id: str
    mac_key: bytes


def parse_binding(key_id: str, text: str) -> Binding:
    """Return the binding by the key in `text`, base64url as authorities give it (RFC 8555, section 7.3.4).

    Raises:
        InvalidInputError: it is none.
    """
    try:
        key = base64.b64decode(text.strip() + "=" * (-len(text.strip()) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise InvalidInputError("the key is not what an authority gives: base64url on one line")
    return Binding(key_id, key)


def bind(binding: Binding, key: Key, url: str) -> dict[str, str]:
    """Return `externalAccountBinding` for the new account of `key` at `url` (RFC 8555, section 7.3.4), by HS256."""
    head = encode(json.dumps({"alg": "HS256", "kid": binding.key_id, "url": url}).encode("utf-8"))
    body = encode(json.dumps(public_jwk(key)).encode("ascii"))
    proof = hmac.digest(binding.mac_key, f"{head}.{body}".encode("ascii"), "sha256")
    return {"protected": head, "payload": body, "signature": encode(proof)}


def make_key() -> Key:
    """Return a new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def render_key(key: Key) -> str:
    """Return `key` as PEM (PKCS #8)."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode("ascii")


def parse_key(pem: str) -> Key:
    """Return the key in `pem`.

    Raises:
        InvalidInputError: it is no P-256 key.
    """
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except ValueError:
        raise InvalidInputError("the key is damaged") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InvalidInputError("the key is not one of P-256")
    return key


def encode(data: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def public_jwk(key: Key) -> dict[str, str]:
    """Return the public part of `key` as a JWK (RFC 7517), with what a thumbprint counts and nothing else."""
    numbers = key.public_key().public_numbers()
    x, y = (encode(number.to_bytes(_COORDINATE_BYTES, "big")) for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def key_authorization(token: str, key: Key) -> str:
    """Return what proves that the account's key answers the challenge `token` (RFC 8555, section 8.1)."""
    canonical = json.dumps(public_jwk(key), sort_keys=True, separators=(",", ":")).encode("ascii")
    return f"{token}.{encode(hashlib.sha256(canonical).digest())}"


def sign(key: Key, protected: dict[str, Any], payload: dict[str, Any] | None) -> bytes:
    """Return the body of a request: flattened JSON; without `payload` it is POST-as-GET (RFC 8555, section 6.3)."""
    head = encode(json.dumps({"alg": "ES256", **protected}).encode("ascii"))
    body = "" if payload is None else encode(json.dumps(payload).encode("ascii"))
    r, s = decode_dss_signature(key.sign(f"{head}.{body}".encode("ascii"), ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
    return json.dumps({"protected": head, "payload": body, "signature": encode(signature)}).encode("ascii")
