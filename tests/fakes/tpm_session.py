"""The chip's side of a session that hides one secret, by other means than the box's: KDFs of `cryptography`."""

import hashlib
import hmac
import secrets
import struct

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

DECRYPT, ENCRYPT = 1 << 5, 1 << 6


def kdf_a(key: bytes, label: bytes, context: bytes) -> bytes:
    derived = KBKDFHMAC(SHA256(), Mode.CounterMode, 32, 4, 4, CounterLocation.BeforeFixed, label, context, None)
    return derived.derive(key)


def kdf_e(shared: bytes, label: bytes, context: bytes) -> bytes:
    return ConcatKDFHash(SHA256(), 32, label + b"\0" + context).derive(shared)


def storage_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(seed[:31], "big") + 1, ec.SECP256R1())


def coordinates(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    numbers = key.public_numbers()
    return numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")


class ProofError(Exception):
    pass


class ChipSession:
    """One session of the chip."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, point: tuple[bytes, bytes], nonce: bytes) -> None:
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point[0] + point[1])
        shared = key.exchange(ec.ECDH(), theirs)
        salt = kdf_e(shared, b"SECRET", point[0] + coordinates(key.public_key())[0])
        self.nonce = secrets.token_bytes(32)
        self._theirs = nonce
        self._key = kdf_a(salt, b"ATH", self.nonce + nonce)

    def open(self, code: int, names: bytes, parameters: bytes, area: tuple[bytes, int, bytes]) -> bytes:
        """Return the parameters of a command, after a look at its proof."""
        self._theirs, attributes, proof = area
        digest = hashlib.sha256(struct.pack(">I", code) + names + parameters).digest()
        if proof != self._proof(digest, self._theirs + self.nonce, attributes):
            raise ProofError
        if attributes & DECRYPT:
            parameters = self._apply(parameters, self._theirs + self.nonce, decrypt=True)
        return parameters

    def close(self, code: int, parameters: bytes, attributes: int) -> bytes:
        """Return the parameters of the answer and the areas behind them."""
        self.nonce = secrets.token_bytes(32)
        if attributes & ENCRYPT:
            parameters = self._apply(parameters, self.nonce + self._theirs, decrypt=False)
        digest = hashlib.sha256(struct.pack(">II", 0, code) + parameters).digest()
        proof = self._proof(digest, self.nonce + self._theirs, attributes)
        first = struct.pack(">HBH", 0, 1, 0)
        return parameters + first + _sized(self.nonce) + bytes([attributes]) + _sized(proof)

    def _apply(self, parameters: bytes, nonces: bytes, *, decrypt: bool) -> bytes:
        keys = kdf_a(self._key, b"CFB", nonces)
        size = int.from_bytes(parameters[:2], "big")
        cipher = Cipher(AES(keys[:16]), CFB(keys[16:]))
        step = cipher.decryptor() if decrypt else cipher.encryptor()
        return parameters[:2] + step.update(parameters[2 : 2 + size]) + step.finalize() + parameters[2 + size :]

    def _proof(self, digest: bytes, nonces: bytes, attributes: int) -> bytes:
        return hmac.digest(self._key, digest + nonces + bytes([attributes]), "sha256")


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data
