import errno
from pathlib import Path

import pytest

from relay.base.errors import ConfigError, KeyAbsentError
from relay.box.otp import Fuses
from tests.fakes.mailbox import CUSTOMER, PRIVATE, FakeMailbox

ROWS = tuple(range(0x01020304, 0x01020304 + 8))
NONE = (0,) * 8


def fuses(tmp_path: Path, mailbox: FakeMailbox) -> Fuses:
    (tmp_path / "vcio").touch()
    return Fuses(tmp_path / "vcio", mailbox)


def test_the_request_is_the_one_that_the_boards_own_tool_makes(tmp_path: Path) -> None:
    mailbox = FakeMailbox({PRIVATE: ROWS})
    fuses(tmp_path, mailbox).read("private")
    # rpi-otp-private-key runs `vcmailbox 0x00030081 40 40 0 8 0 0 0 0 0 0 0 0`, which adds size, code and end.
    assert mailbox.asked == [(64, 0, 0x30081, 40, 40, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0)]


def test_the_key_is_what_the_boards_own_tool_would_print(tmp_path: Path) -> None:
    # It prints the rows as eight hexadecimal digits each, one after the other.
    printed = "".join(f"{row:08x}" for row in ROWS)
    assert fuses(tmp_path, FakeMailbox({PRIVATE: ROWS})).read("private").hex() == printed


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ({PRIVATE: ROWS, CUSTOMER: ROWS}, "private"),
        ({PRIVATE: NONE, CUSTOMER: ROWS}, "customer"),
        # An older chip's firmware does not know the first tag.
        ({CUSTOMER: ROWS}, "customer"),
    ],
)
def test_the_rows_that_hold_something_are_found(tmp_path: Path, rows: dict[int, tuple[int, ...]], found: str) -> None:
    assert fuses(tmp_path, FakeMailbox(rows)).find() == found


def test_a_board_without_a_key_is_refused_with_what_a_person_can_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"for ever.*rpi-otp-private-key -w"):
        fuses(tmp_path, FakeMailbox({PRIVATE: NONE, CUSTOMER: NONE})).find()


def test_nothing_is_ever_written(tmp_path: Path) -> None:
    mailbox = FakeMailbox({PRIVATE: NONE, CUSTOMER: ROWS})
    fuses(tmp_path, mailbox).find()
    # Tags that set something have 8 in the fifth digit from the right (SET_CUSTOMER_OTP is 0x00038021).
    assert {words[2] & 0xF000 for words in mailbox.asked} == {0}


def test_a_firmware_that_keeps_the_key_to_itself_gives_none(tmp_path: Path) -> None:
    assert fuses(tmp_path, FakeMailbox({}, fails=errno.EINVAL)).read("private") == bytes(32)


def test_another_machine_has_no_fuses_and_a_refusal_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyAbsentError, match="no Raspberry Pi"):
        Fuses(tmp_path / "vcio").read("private")
    with pytest.raises(ConfigError, match="refuses"):
        fuses(tmp_path, FakeMailbox({}, fails=errno.EPERM)).read("private")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="refuses"):
        Fuses(tmp_path / "folder").read("private")
