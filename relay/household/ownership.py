"""Who may change the box by cable: the passwords of those who look after it, in a form the cable's console can check.

The console works while the relay does not, and while the index cannot be read. So the argon2id hashes of all active
admins lie once more in a small file of the state folder, sealed under a key of the keyring: a stolen card gives no
hash to guess at, for these are the passwords that people log in with.

    {"format": 1, "claimed": true, "nonce": hexadecimal, "sealed": hexadecimal}

`claimed` tells without any key whether there is anybody to ask; it is bound to the sealed part.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence

from nacl import bindings, exceptions, pwhash

from relay.base.config import OWNER_FILE_NAME
from relay.base.errors import DamagedError, NewerFormatError
from relay.base.limits import MAX_PASSWORD_BYTES

_FORMAT = 1
_NONCE_BYTES = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES


def seal(index_key: bytes, hashes: Sequence[str]) -> bytes:
    """Return the content of the file that lets whoever knows one of these passwords change the box.

    Args:
        index_key: the key of the index, from the keyring; the key of this file is derived from it.
        hashes: argon2id hashes, salt and cost inside; none where nobody looks after the box yet.
    """
    nonce, claimed = secrets.token_bytes(_NONCE_BYTES), bool(hashes)
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        json.dumps(list(hashes)).encode("ascii"), _bound(claimed=claimed), nonce, _key(index_key)
    )
    fields = {"format": _FORMAT, "claimed": claimed, "nonce": nonce.hex(), "sealed": sealed.hex()}
    return json.dumps(fields).encode("ascii")


def unseal(index_key: bytes, content: bytes) -> list[str]:
    """Return the hashes in a file that `seal` made.

    Raises:
        DamagedError: this is no such file, or was sealed with another key.
        NewerFormatError: a newer release wrote it.
    """
    try:
        fields = json.loads(content)
        found = fields["format"]
        if isinstance(found, int) and found > _FORMAT:
            raise NewerFormatError.of(OWNER_FILE_NAME, f"format {found}, this release knows {_FORMAT}")
        opened = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            bytes.fromhex(fields["sealed"]),
            _bound(claimed=fields["claimed"] is True),
            bytes.fromhex(fields["nonce"]),
            _key(index_key),
        )
    except (ValueError, TypeError, KeyError, exceptions.CryptoError):
        raise DamagedError(f"{OWNER_FILE_NAME} does not say who looks after this box") from None
    return [str(text) for text in json.loads(opened)]


def proves(hashes: Sequence[str], password: str) -> bool:
    """Return whether `password` belongs to one of `hashes`; each takes its time and its memory."""
    encoded = password.encode("utf-8", "surrogatepass")
    return len(encoded) <= MAX_PASSWORD_BYTES and any(_fits(text, encoded) for text in hashes)


def _fits(text: str, password: bytes) -> bool:
    try:
        return bool(pwhash.argon2id.verify(text.encode("ascii"), password))
    except exceptions.InvalidkeyError:
        return False


def _bound(*, claimed: bool) -> bytes:
    return f"{OWNER_FILE_NAME} {_FORMAT} {claimed}".encode("ascii")


def _key(index_key: bytes) -> bytes:
    return hashlib.blake2b(key=index_key, person=b"doorstep-owner", digest_size=32).digest()
