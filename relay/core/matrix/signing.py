"""Ed25519 signatures over canonical JSON and over events.

Sources: Matrix specification v1.19, Appendices, "Signing JSON"; Server-Server API, "Validating hashes and signatures
on received events"; room version 5, "Signing key validity period".
"""

from collections.abc import Mapping
from typing import Any

from nacl import bindings
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey as NaclSigningKey
from nacl.signing import VerifyKey

from relay.base.errors import InvalidInputError, UnauthenticatedError
from relay.base.ids import KeyId, ServerName, UserId, server_of
from relay.core.matrix import canonical_json, unpadded_base64
from relay.core.matrix.events import Event, parse_pdu

_SIGNATURE_BYTES = 64


class SignatureError(UnauthenticatedError):
    """A signature is missing, made with an unknown key, or wrong."""

    code = "signature.invalid"


class SigningKey:
    """A server's own Ed25519 key.

    Attributes:
        key_id: `ed25519:` and a label.
        seed: 32 secret bytes.
        public: 32 bytes.
    """

    __slots__ = ("_key", "_secret", "key_id", "public", "seed")

    def __init__(self, key_id: KeyId, seed: bytes) -> None:
        if not key_id.startswith("ed25519:"):
            raise InvalidInputError("a signing key id starts with ed25519:")
        self.key_id = key_id
        self.seed = seed
        self._key = NaclSigningKey(seed)
        self.public = bytes(self._key.verify_key)
        # As libsodium takes it: the library's own object copies message and signature about.
        self._secret = seed + self.public

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r})"

    @property
    def verify_key(self) -> VerifyKey:
        """The public half as a key that verifies."""
        return self._key.verify_key

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        signed: bytes = bindings.crypto_sign(data, self._secret)
        return signed[:_SIGNATURE_BYTES]


def generate(seed: bytes, label: str) -> SigningKey:
    """Return the key `ed25519:LABEL` of 32 random bytes, which the caller draws.

    Raises:
        InvalidInputError: the label is not letters, digits and underscores, or the seed is not 32 bytes.
    """
    if len(seed) != 32 or not label.isascii() or not label.replace("_", "a").isalnum():
        raise InvalidInputError("a signing key needs a seed of 32 bytes and a label of a-z A-Z 0-9 _")
    return SigningKey(KeyId(f"ed25519:{label}"), seed)


def parse_verify_key(text: object) -> VerifyKey:
    """Return the key of unpadded base64 as servers publish it.

    Raises:
        InvalidInputError: it is not base64 of 32 bytes.
    """
    data = unpadded_base64.decode(text) if isinstance(text, str) else b""
    if len(data) != 32:
        raise InvalidInputError("an Ed25519 key has 32 bytes")
    return VerifyKey(data)


def sign_json(obj: Mapping[str, Any], server: ServerName, key: SigningKey) -> dict[str, Any]:
    """Return a copy of `obj` with our signature added to its `signatures`.

    Raises:
        InvalidInputError: it has no canonical form.
    """
    signature = unpadded_base64.encode(key.sign(canonical_json.encode(_signed_part(obj))))
    return {**obj, "signatures": _with_signature(obj.get("signatures"), server, key, signature)}


def verify_json(obj: Mapping[str, Any], server: ServerName, keys: Mapping[KeyId, VerifyKey]) -> None:
    """Check that `server` signed `obj` with one of `keys`; every signature by a given key must be right.

    Raises:
        SignatureError: no signature by a given key, or a wrong one.
        InvalidInputError: the object is not JSON.
    """
    _verify(canonical_json.encode_lenient(_signed_part(obj)), obj.get("signatures"), server, keys)


def add_signature(event: Event, server: ServerName, key: SigningKey) -> Event:
    """Return the event with our signature beside those it has: an invited or authorising server vouches for it.

    Raises:
        EventTooLargeError: the signature makes it larger than an event may be.
    """
    signature = unpadded_base64.encode(key.sign(event.signed_bytes()))
    raw = {**event.raw, "signatures": _with_signature(event.raw.get("signatures"), server, key, signature)}
    return parse_pdu(raw, event.version)


def required_signers(event: Event) -> set[ServerName]:
    """Return the servers that must have signed: the sender's, and one that vouches for a restricted join.

    An invite through a third-party identifier needs none here: authorization checks its own signature.
    """
    membership = event.content.get("membership") if event.type == "m.room.member" else None
    signers = set()
    if not (membership == "invite" and "third_party_invite" in event.content):
        signers.add(server_of(event.sender))
    voucher = event.content.get("join_authorised_via_users_server")
    if event.version.restricted_joins and membership == "join" and isinstance(voucher, str) and ":" in voucher:
        signers.add(server_of(UserId(voucher)))
    return signers


def verify_event(event: Event, key_lookup: Mapping[ServerName, Mapping[KeyId, VerifyKey]]) -> None:
    """Check the signatures of every required signer.

    Args:
        event: the event; a redacted copy verifies just as well.
        key_lookup: for each server the keys that were good at the event's `origin_server_ts`.

    Raises:
        SignatureError: one is missing or wrong.
    """
    for server in required_signers(event):
        _verify(event.signed_bytes(), event.raw.get("signatures"), server, key_lookup.get(server, {}))


def key_ids_of(signatures: object, server: ServerName) -> set[KeyId]:
    """Return which Ed25519 keys `server` says it signed with; empty where `signatures` is malformed."""
    entry = signatures.get(server) if isinstance(signatures, Mapping) else None
    if not isinstance(entry, Mapping):
        return set()
    return {KeyId(key_id) for key_id in entry if isinstance(key_id, str) and key_id.startswith("ed25519:")}


def _signed_part(obj: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("signatures", "unsigned")}


def _with_signature(old: object, server: ServerName, key: SigningKey, signature: str) -> dict[str, Any]:
    signatures = dict(old) if isinstance(old, Mapping) else {}
    mine = signatures.get(server)
    signatures[server] = {**(mine if isinstance(mine, Mapping) else {}), key.key_id: signature}
    return signatures


def _verify(data: bytes, signatures: object, server: ServerName, keys: Mapping[KeyId, VerifyKey]) -> None:
    known = key_ids_of(signatures, server) & keys.keys()
    if not known:
        raise SignatureError("no signature by a known key of the server")
    assert isinstance(signatures, Mapping)
    for key_id in known:
        check_signature(data, signatures[server][key_id], keys[key_id])


def check_signature(data: bytes, signature: object, key: VerifyKey) -> None:
    """Check one signature, given in unpadded base64, over `data`.

    Raises:
        SignatureError: it is not base64 of 64 bytes, or not made by this key.
    """
    try:
        decoded = unpadded_base64.decode(signature) if isinstance(signature, str) else b""
    except InvalidInputError:
        decoded = b""
    if len(decoded) != _SIGNATURE_BYTES:
        raise SignatureError("a signature is not base64 of 64 bytes")
    try:
        key.verify(data, decoded)
    except (BadSignatureError, ValueError):
        raise SignatureError("a signature is wrong") from None
