"""Commands to a TPM 2.0 and its answers as bytes, as few as sealing one secret needs; nothing here does I/O.

Sources: TCG Trusted Platform Module Library, family 2.0: Part 1 section 18 (form of commands and answers, password
authorisation), Part 2 (constants and structures, big-endian throughout), Part 3 (the commands; named at each function).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from relay.base.errors import DamagedError

HEADER_BYTES = 10
MAX_ANSWER_BYTES = 4096
OWNER, NOBODY = 0x4000_0001, 0x4000_0007
POLICY, TRIAL = 0x01, 0x03
_HMAC = 0x00

_PLAIN, _AUTHORISED = 0x8001, 0x8002
_PASSWORD = 0x4000_0009
_SHA256, _AES, _CFB, _NULL, _ECC, _KEYEDHASH, _P256 = 0x000B, 0x0006, 0x0043, 0x0010, 0x0023, 0x0008, 0x0003
_PCR_BYTES = 3
# TPMA_OBJECT (Part 2 section 8.3). The parent's are those of the storage root key of TCG's provisioning guidance: the
# TPM makes the same key from them each time, until somebody clears it. Nothing here counts wrong passwords (noDA).
_FIXED = 1 << 1 | 1 << 4
_USER_WITH_AUTH, _NO_DA = 1 << 6, 1 << 10
_PARENT = _FIXED | 1 << 5 | _USER_WITH_AUTH | _NO_DA | 1 << 16 | 1 << 17

SUCCESS = 0x000
INTEGRITY, POLICY_FAIL, AUTH_FAIL, BAD_AUTH = 0x09F, 0x09D, 0x08E, 0x0A2
LOCKOUT, RETRY, YIELDED, TESTING, NOT_STARTED = 0x921, 0x922, 0x908, 0x90A, 0x100


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret that only one TPM opens: both parts as `create` returned them."""

    private: bytes
    public: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """A command about what is loaded, before it is bytes.

    Attributes:
        authorised_by: the session that speaks for the first of `handles`.
        parameters: where there are any, the first one is sized.
    """

    code: int
    handles: Sequence[int]
    parameters: bytes
    authorised_by: int = _PASSWORD

    def render(self, *areas: bytes, parameters: bytes | None = None) -> bytes:
        """Return it with more sessions, and with `parameters` as they changed."""
        area = b"".join((session_area(self.authorised_by), *areas))
        changed = self.parameters if parameters is None else parameters
        body = b"".join(struct.pack(">I", handle) for handle in self.handles)
        body += struct.pack(">I", len(area)) + area + changed
        return struct.pack(">HII", _AUTHORISED, HEADER_BYTES + len(body), self.code) + body


def session_area(session: int, nonce: bytes = b"", attributes: int = 0, proof: bytes = b"") -> bytes:
    """TPMS_AUTH_COMMAND (Part 2 section 10.13.2)."""
    return struct.pack(">I", session) + sized(nonce) + bytes([attributes]) + sized(proof)


def create_primary() -> bytes:
    """TPM2_CreatePrimary (Part 3 section 24.1) of the storage root key under the owner, who has no password."""
    curve = struct.pack(">7H", _AES, 128, _CFB, _NULL, _P256, _NULL, 0) + sized(b"")
    public = struct.pack(">HHI", _ECC, _SHA256, _PARENT) + sized(b"") + curve
    parameters = sized(sized(b"") + sized(b"")) + sized(public) + sized(b"") + struct.pack(">I", 0)
    return Command(0x131, [OWNER], parameters).render()


def create(parent: int, secret: bytes, policy: bytes) -> Command:
    """TPM2_Create (section 12.1) of an object that holds `secret`; under `policy` unless that is empty."""
    attributes = _FIXED | _NO_DA | (0 if policy else _USER_WITH_AUTH)
    public = (
        struct.pack(">HHI", _KEYEDHASH, _SHA256, attributes) + sized(policy) + struct.pack(">H", _NULL) + sized(b"")
    )
    parameters = sized(sized(b"") + sized(secret)) + sized(public) + sized(b"") + struct.pack(">I", 0)
    return Command(0x153, [parent], parameters)


def load(parent: int, sealed: Sealed) -> bytes:
    """TPM2_Load (section 12.2)."""
    return Command(0x157, [parent], sized(sealed.private) + sized(sealed.public)).render()


def unseal(item: int, session: int | None) -> Command:
    """TPM2_Unseal (section 12.7), by a policy session or without a password."""
    return Command(0x15E, [item], b"", _PASSWORD if session is None else session)


def start_session(kind: int, nonce: bytes) -> bytes:
    """TPM2_StartAuthSession (section 11.1) of a policy or a trial."""
    parameters = sized(nonce) + sized(b"") + struct.pack(">BHH", kind, _NULL, _SHA256)
    return _command(0x176, [NOBODY, NOBODY], parameters)


def salted_session(parent: int, nonce: bytes, salt: bytes) -> bytes:
    """TPM2_StartAuthSession of a session whose key comes from `salt`, and that hides with AES-128 in CFB mode."""
    form = struct.pack(">BHHHH", _HMAC, _AES, 128, _CFB, _SHA256)
    return _command(0x176, [parent, NOBODY], sized(nonce) + sized(salt) + form)


def policy_pcr(session: int, pcrs: Sequence[int]) -> bytes:
    """TPM2_PolicyPCR (section 23.7): the registers `pcrs` of the SHA-256 bank as they are now."""
    chosen = sum(1 << number for number in pcrs).to_bytes(_PCR_BYTES, "little")
    selection = struct.pack(">IHB", 1, _SHA256, _PCR_BYTES) + chosen
    return _command(0x17F, [session], sized(b"") + selection)


def policy_digest(session: int) -> bytes:
    """TPM2_PolicyGetDigest (section 23.6)."""
    return _command(0x189, [session], b"")


def flush(handle: int) -> bytes:
    """TPM2_FlushContext (section 28.4) of a loaded object or session."""
    return _command(0x165, [], struct.pack(">I", handle))


def answer_size(header: bytes) -> int:
    """Return how long the answer is, its header included.

    Raises:
        DamagedError: this is no answer of a TPM.
    """
    if len(header) == HEADER_BYTES:
        tag, size, _ = struct.unpack(">HII", header)
        if tag in (_PLAIN, _AUTHORISED, 0x00C4) and HEADER_BYTES <= size <= MAX_ANSWER_BYTES:
            return int(size)
    raise DamagedError("the TPM answers nonsense")


def code_of(answer: bytes) -> int:
    """Return the response code without the number of what it is about (Part 2 section 6.6)."""
    answer_size(answer[:HEADER_BYTES])
    code = int.from_bytes(answer[6:10], "big")
    return code & 0x0BF if code & 0x080 else code


def handle_in(answer: bytes) -> int:
    """Return the handle that a successful answer begins with."""
    return Fields(answer[HEADER_BYTES:]).number(4)


def public_in(answer: bytes) -> bytes:
    """Return the public area that follows the handle in the answer to TPM2_CreatePrimary."""
    fields = Fields(answer[HEADER_BYTES:])
    fields.take(8)
    return fields.sized()


def bytes_in(answer: bytes) -> bytes:
    """Return the digest that is the answer."""
    return Fields(answer[HEADER_BYTES:]).sized()


class Fields:
    """Reads an answer from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, size_bytes: int) -> int:
        """Return the next number."""
        return int.from_bytes(self.take(size_bytes), "big")

    def sized(self) -> bytes:
        """Return the next bytes, which a length of two bytes precedes."""
        return self.take(self.number(2))

    def take(self, size_bytes: int) -> bytes:
        """Return the next bytes."""
        taken = self._data[self._at : self._at + size_bytes]
        if len(taken) < size_bytes:
            raise DamagedError("the TPM's answer ends too early")
        self._at += size_bytes
        return taken


def _command(code: int, handles: Sequence[int], parameters: bytes) -> bytes:
    body = b"".join(struct.pack(">I", handle) for handle in handles) + parameters
    return struct.pack(">HII", _PLAIN, HEADER_BYTES + len(body), code) + body


def sized(data: bytes) -> bytes:
    """Return `data` behind its length of two bytes."""
    return struct.pack(">H", len(data)) + data
