import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import DamagedError
from relay.box import tpm_session
from relay.box.tpm_cipher import LocalCipher
from relay.box.tpm_commands import Command
from relay.box.tpm_session import HidingSession, Salt
from tests.fakes import tpm_session as chip

SHORT = st.binary(max_size=40)
# An elliptic key of P-256 up to its coordinates, with a policy of two bytes.
AREA = bytes.fromhex("0023 000b 00030472 0002 abcd 0006 0080 0043 0010 0003 0010")


@given(st.binary(min_size=1, max_size=40), st.sampled_from([b"ATH", b"CFB"]), SHORT, SHORT)
def test_keys_are_derived_as_sp_800_108_says(key: bytes, label: bytes, newer: bytes, older: bytes) -> None:
    assert tpm_session.kdf_a(key, label, newer, older) == chip.kdf_a(key, label, newer + older)


@given(st.binary(min_size=32, max_size=32), SHORT, SHORT)
def test_salts_are_derived_as_sp_800_56a_says(shared: bytes, ours: bytes, theirs: bytes) -> None:
    assert tpm_session.kdf_e(shared, b"SECRET", ours, theirs) == chip.kdf_e(shared, b"SECRET", ours + theirs)


def test_a_name_is_a_hash_and_its_number() -> None:
    assert tpm_session.name_of(b"").hex() == "000be3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Asked(LocalCipher):
    point = b""

    def agree(self, point: bytes) -> tuple[bytes, bytes]:
        self.point = point
        return super().agree(point)


def test_a_coordinate_may_come_without_its_leading_zeros() -> None:
    keys = (chip.storage_key(number.to_bytes(31, "big")).public_key() for number in range(2000))
    x, y = next(point for point in map(chip.coordinates, keys) if not point[0][0])
    cipher = Asked()
    Salt(cipher, 0x8000_0000, AREA + b"\0\x1f" + x[1:] + b"\0\x20" + y)
    assert cipher.point == x + y


@given(st.binary(max_size=80))
def test_what_is_no_key_of_the_curve_gets_no_salt(data: bytes) -> None:
    for area in (data, AREA + data, AREA + b"\0\x20" + data[:32].ljust(32, b"x") + b"\0\x20" + bytes(32)):
        with pytest.raises(DamagedError, match="TPM"):
            Salt(LocalCipher(), 0x8000_0000, area)


@given(st.binary(max_size=120), st.booleans())
def test_whatever_is_no_answer_of_the_chip_is_refused_in_words(answer: bytes, hides: bool) -> None:
    session = HidingSession(LocalCipher(), 0x0200_0000, bytes(32), bytes(32), bytes(32))
    for data in (answer, bytes(10) + answer):
        with pytest.raises(DamagedError, match="TPM"):
            session.read(Command(0x15E, [0x8000_0001], b"\0\1x" if hides else b""), data)
