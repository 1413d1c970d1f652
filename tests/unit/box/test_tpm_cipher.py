import subprocess
import sys
from typing import Any

import pytest

from relay.base.errors import DamagedError, KeyAbsentError
from relay.box.tpm_cipher import LocalCipher, child_cipher

# SP 800-38A, F.3.13 (CFB128-AES128): key, first block, and two blocks of text in both forms.
KEYS = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c 000102030405060708090a0b0c0d0e0f")
PLAIN = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51")
HIDDEN = bytes.fromhex("3b3fd92eb72dad20333449f8e83cfb4a c8a64537a0b3a93fcde3cdad9f1ce58b")


def test_it_hides_as_the_standard_says() -> None:
    cipher = LocalCipher()
    assert cipher.apply(KEYS, PLAIN, decrypt=False) == HIDDEN
    assert cipher.apply(KEYS, HIDDEN[:20], decrypt=True) == PLAIN[:20]


def test_a_process_of_its_own_agrees_with_somebody_and_opens_what_that_one_hid() -> None:
    point, _ = LocalCipher().agree(LocalCipher().agree(_generator())[0])
    with child_cipher() as cipher:
        shown, shared = cipher.agree(point)
        assert (len(shown), len(shared)) == (64, 32)
        assert cipher.apply(KEYS, HIDDEN, decrypt=True) == PLAIN


def test_what_is_no_point_is_refused_by_both() -> None:
    with pytest.raises(DamagedError, match="P-256"):
        LocalCipher().agree(b"x" * 64)
    with child_cipher() as cipher, pytest.raises(DamagedError, match="P-256"):
        cipher.agree(b"x" * 64)


@pytest.mark.parametrize("line", ["raise MemoryError", "import os; os.kill(os.getpid(), 9)"])
def test_a_process_that_is_ended_is_a_key_that_is_not_there_now_and_no_damage(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    begin = subprocess.Popen

    def ended(_command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        return begin([sys.executable, "-S", "-c", line], **options)

    monkeypatch.setattr(subprocess, "Popen", ended)
    with child_cipher() as cipher, pytest.raises(KeyAbsentError, match="ended too early"):
        cipher.agree(_generator())


def test_a_machine_that_starts_no_process_is_not_one_without_a_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(KeyAbsentError, match="cannot be started: Cannot allocate memory"), child_cipher():
        pass


def _generator() -> bytes:
    # SEC 2, section 2.4.2: the base point of secp256r1.
    return bytes.fromhex(
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    )
