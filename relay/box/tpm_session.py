"""A session in which a TPM 2.0 and the box hide one secret from whoever sits on the wires between them.

Its key comes from a salt that only the owner of the storage key learns; so an impostor between us and the chip learns
nothing, as long as that key is the chip's own: its name is to be compared with the one that was noted at the sealing.
Sources: Part 1 of the library specification: 11.4.10.2 and 11.4.10.3 (KDFa, KDFe), 16 (names), 19.6 (session keys and
HMACs), 21 (session-based encryption), annex C (a salt by ECDH).
"""

import hashlib
import hmac
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from relay.base.errors import DamagedError
from relay.box.tpm_cipher import BLOCK_BYTES, COORDINATE_BYTES, Cipher
from relay.box.tpm_commands import HEADER_BYTES, Command, Fields, salted_session, session_area, sized

_NONCE_BYTES = 32
_CONTINUE, _DECRYPT, _ENCRYPT = 1 << 0, 1 << 5, 1 << 6
_SHA256 = b"\x00\x0b"


def name_of(public: bytes) -> bytes:
    """Return the name of an object: the hash of its public area, and which hash that is."""
    return _SHA256 + hashlib.sha256(public).digest()


def kdf_a(key: bytes, label: bytes, newer: bytes, older: bytes) -> bytes:
    """Return 32 bytes of KDFa with SHA-256: one block of SP 800-108 in counter mode."""
    message = struct.pack(">I", 1) + label + b"\0" + newer + older + struct.pack(">I", 256)
    return hmac.digest(key, message, "sha256")


def kdf_e(shared: bytes, label: bytes, ours: bytes, theirs: bytes) -> bytes:
    """Return 32 bytes of KDFe with SHA-256: one block of SP 800-56A; all others are x coordinates."""
    return hashlib.sha256(struct.pack(">I", 1) + shared + label + b"\0" + ours + theirs).digest()


class Salt:
    """What begins a session: a secret for the owner of `parent`, whose public area is `public`."""

    def __init__(self, cipher: Cipher, parent: int, public: bytes) -> None:
        x, y = _point(public)
        shown, shared = cipher.agree(x + y)
        ours = shown[:COORDINATE_BYTES]
        self._salt = kdf_e(shared, b"SECRET", ours, x)
        self._cipher = cipher
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self.command = salted_session(parent, self._nonce, sized(ours) + sized(shown[COORDINATE_BYTES:]))

    def session(self, answer: bytes) -> "HidingSession":
        """Return the session that the TPM began by `answer`."""
        fields = Fields(answer[HEADER_BYTES:])
        handle, nonce = fields.number(4), fields.sized()
        return HidingSession(self._cipher, handle, kdf_a(self._salt, b"ATH", nonce, self._nonce), nonce)


@dataclass(slots=True)
class HidingSession:
    """Hides one thing: what the command says first, or what the answer does.

    Attributes:
        key: the session key.
        theirs: the newest nonce of the TPM.
        ours: the newest of ours.
    """

    cipher: Cipher
    handle: int
    key: bytes
    theirs: bytes
    ours: bytes = b""

    def ask(self, command: Command, names: Sequence[bytes]) -> bytes:
        """Return `command` with this session: its first parameter is hidden, or the answer's where it has none."""
        self.ours = secrets.token_bytes(_NONCE_BYTES)
        parameters, attributes = command.parameters, _CONTINUE | _ENCRYPT
        if parameters:
            attributes = _CONTINUE | _DECRYPT
            parameters = self._apply(parameters, self.ours, self.theirs, decrypt=False)
        about = struct.pack(">I", command.code) + b"".join(names) + parameters
        proof = self._proof(about, self.ours, self.theirs, attributes)
        return command.render(session_area(self.handle, self.ours, attributes, proof), parameters=parameters)

    def read(self, command: Command, answer: bytes) -> Fields:
        """Return the parameters of the answer to `command`, opened.

        Raises:
            DamagedError: somebody else than the owner of the salt answered.
        """
        fields = Fields(answer[HEADER_BYTES:])
        parameters = fields.take(fields.number(4))
        # First comes the authorisation of the object, which proves nothing.
        fields.sized(), fields.number(1), fields.sized()
        self.theirs, attributes, proof = fields.sized(), fields.number(1), fields.sized()
        about = struct.pack(">II", 0, command.code) + parameters
        if not hmac.compare_digest(proof, self._proof(about, self.theirs, self.ours, attributes)):
            raise DamagedError("somebody between the box and its TPM answers in its place")
        if not command.parameters:
            parameters = self._apply(parameters, self.theirs, self.ours, decrypt=True)
        return Fields(parameters)

    def _apply(self, parameters: bytes, newer: bytes, older: bytes, *, decrypt: bool) -> bytes:
        keys = kdf_a(self.key, b"CFB", newer, older)[: 2 * BLOCK_BYTES]
        first = Fields(parameters).sized()
        return sized(self.cipher.apply(keys, first, decrypt=decrypt)) + parameters[2 + len(first) :]

    def _proof(self, about: bytes, newer: bytes, older: bytes, attributes: int) -> bytes:
        message = hashlib.sha256(about).digest() + newer + older + bytes([attributes])
        return hmac.digest(self.key, message, "sha256")


def _point(public: bytes) -> tuple[bytes, bytes]:
    fields = Fields(public)
    # Type, hash, attributes; policy; cipher of three numbers, scheme, curve, derivation (Part 2 section 12.2.3.6).
    fields.take(8), fields.sized(), fields.take(12)
    x, y = fields.sized(), fields.sized()
    if max(len(x), len(y)) > COORDINATE_BYTES:
        raise DamagedError("the TPM's storage key is no point of P-256")
    return x.rjust(COORDINATE_BYTES, b"\0"), y.rjust(COORDINATE_BYTES, b"\0")
