"""P-256 and AES for one conversation with a TPM, by a process that ends with it: their library is larger than the box.

On its standard input come a point (64 bytes) and later, up to the end, 0 to encrypt or 1 to decrypt, a key and a first
block (16 bytes each) and the data; it answers with its own point and the shared x coordinate (96 bytes), then the data.
"""

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Protocol

from relay.base.errors import DamagedError, KeyAbsentError

COORDINATE_BYTES = 32
BLOCK_BYTES = 16
_WITHIN_S = 60.0
_NO_POINT = 3


class Cipher(Protocol):
    """One agreement on a secret, and one text hidden by what was made of it."""

    def agree(self, point: bytes) -> tuple[bytes, bytes]:
        """Return a fresh point and the x coordinate of the secret that it shares with the owner of `point`.

        Raises:
            DamagedError: `point` is none of P-256.
        """
        ...

    def apply(self, keys: bytes, data: bytes, *, decrypt: bool) -> bytes:
        """Return `data` by AES-128 in CFB mode; `keys` are the key and the first block."""
        ...


@contextlib.contextmanager
def child_cipher() -> Iterator[Cipher]:
    """Have a cipher in a process of its own, which ends with the block.

    Raises:
        KeyAbsentError: there is no process for it now; so do its methods.
    """
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay.box.tpm_cipher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
    except OSError as error:
        raise KeyAbsentError(f"the process for the TPM's cipher cannot be started: {error.strerror}") from None
    with process:
        try:
            yield _Child(process)
        finally:
            process.kill()


class _Child:
    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def agree(self, point: bytes) -> tuple[bytes, bytes]:
        """Ask for the first half; see `Cipher`."""
        asked, answers = self._process.stdin, self._process.stdout
        if asked is None or answers is None:
            raise KeyAbsentError("the process for the TPM's cipher has no pipes")
        with contextlib.suppress(BrokenPipeError):
            asked.write(point)
        if not select.select([answers], [], [], _WITHIN_S)[0]:
            raise _no_answer()
        answer = answers.read(3 * COORDINATE_BYTES)
        if len(answer) != 3 * COORDINATE_BYTES:
            # Its pipe is closed, so it has ended; that it was ended says nothing of the chip.
            raise _no_point() if self._process.wait(_WITHIN_S) == _NO_POINT else _ended()
        return answer[: 2 * COORDINATE_BYTES], answer[2 * COORDINATE_BYTES :]

    def apply(self, keys: bytes, data: bytes, *, decrypt: bool) -> bytes:
        """Ask for the second half; see `Cipher`."""
        try:
            answer, _ = self._process.communicate(bytes([decrypt]) + keys + data, timeout=_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise _no_answer() from None
        if len(answer) != len(data):
            raise _ended()
        return answer


def _no_point() -> DamagedError:
    return DamagedError("the TPM's storage key is no point of P-256")


def _no_answer() -> KeyAbsentError:
    return KeyAbsentError("the process for the TPM's cipher does not answer")


def _ended() -> KeyAbsentError:
    return KeyAbsentError("the process for the TPM's cipher ended too early; the machine may lack memory")


class LocalCipher:
    """The cipher itself, for the process that exists for it."""

    def agree(self, point: bytes) -> tuple[bytes, bytes]:
        """Agree by ECDH; see `Cipher`."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        own = ec.generate_private_key(ec.SECP256R1())
        try:
            theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
        except ValueError:
            raise _no_point() from None
        form = serialization.PublicFormat.UncompressedPoint
        shown = own.public_key().public_bytes(serialization.Encoding.X962, form)
        return shown[1:], own.exchange(ec.ECDH(), theirs)

    def apply(self, keys: bytes, data: bytes, *, decrypt: bool) -> bytes:
        """Encrypt or decrypt; see `Cipher`."""
        from cryptography.hazmat.decrepit.ciphers.modes import CFB
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        cipher = BlockCipher(AES(keys[:BLOCK_BYTES]), CFB(keys[BLOCK_BYTES:]))
        step = cipher.decryptor() if decrypt else cipher.encryptor()
        return step.update(data) + step.finalize()


def main() -> None:
    """Serve the one who started this process."""
    cipher = LocalCipher()
    try:
        shown, shared = cipher.agree(sys.stdin.buffer.read(2 * COORDINATE_BYTES))
    except DamagedError:
        sys.exit(_NO_POINT)
    sys.stdout.buffer.write(shown + shared)
    sys.stdout.buffer.flush()
    request = sys.stdin.buffer.read()
    if request:
        keys, data = request[1 : 1 + 2 * BLOCK_BYTES], request[1 + 2 * BLOCK_BYTES :]
        sys.stdout.buffer.write(cipher.apply(keys, data, decrypt=bool(request[0])))


if __name__ == "__main__":
    main()
