from pathlib import Path

import pytest

from relay.box.otp import Fuses
from relay.box.profile import Keystore
from relay.cli.key_advice import advise
from tests.fakes.mailbox import PRIVATE, FakeMailbox

OTP = Keystore(kind="rpi-otp", otp_first_row=36)


def fuses(tmp_path: Path, *rows: int) -> Fuses:
    (tmp_path / "vcio").touch()
    return Fuses(tmp_path / "vcio", FakeMailbox({PRIVATE: rows}))


def test_a_tpm_that_is_there_is_the_best_place(tmp_path: Path) -> None:
    assert advise(Keystore(kind="tpm2"), tpm=tmp_path / "tpmrm0")["source"] == ""
    (tmp_path / "tpmrm0").touch()
    assert advise(Keystore(kind="tpm2"), tpm=tmp_path / "tpmrm0")["source"] == "tpm"


def test_fuses_are_proposed_where_they_hold_a_key_and_never_set(tmp_path: Path) -> None:
    assert advise(OTP, fuses=fuses(tmp_path, *range(1, 9)))["source"] == "otp"
    told = advise(OTP, fuses=fuses(tmp_path, *[0] * 8))
    assert told["source"] == ""
    assert "rpi-otp-private-key" in told["means"]
    assert "for ever" in told["means"]


@pytest.mark.parametrize("keystore", [Keystore(), OTP, Keystore(kind="tpm2")])
def test_a_board_without_any_is_told_what_a_person_can_do(keystore: Keystore, tmp_path: Path) -> None:
    told = advise(keystore, tpm=tmp_path / "none")
    assert told["source"] == ""
    assert "passphrase" in told["means"]
    assert "stick" in told["means"]
