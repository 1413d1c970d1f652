from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.trial import FILE_NAME, Trial, Uptime, pending
from relay.cli import reset
from relay.cli.lasting import RESET, TRIAL

BEGUN = Uptime("first", 100.0)
MADE = Trial(BEGUN, 160.0, settings=True, checkpoint="/c/1")


@pytest.mark.parametrize(
    ("now", "left_s"),
    [
        (Uptime("first", 100.0), 60.0),
        (Uptime("first", 159.0), 1.0),
        (Uptime("first", 160.0), 0.0),
        (Uptime("first", 5000.0), 0.0),
        # A machine that started anew did not hear that it is right.
        (Uptime("second", 120.0), 0.0),
        # Where nobody tells which start this is, time that went back does.
        (Uptime("", 120.0), 40.0),
        (Uptime("", 20.0), 0.0),
    ],
)
def test_a_trial_ends_by_time_or_by_a_new_start(now: Uptime, left_s: float) -> None:
    assert MADE.left_s(now) == left_s


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert pending(tmp_path) is None
    (tmp_path / FILE_NAME).write_bytes(MADE.render())
    assert pending(tmp_path) == MADE


@given(
    st.binary(max_size=60) | st.sampled_from([b"{}", b"[]", b'{"begun":{}}', b'{"begun":{"boot":"","seconds":"x"}}'])
)
def test_a_file_that_cannot_be_read_is_a_trial_whose_time_is_up(data: bytes) -> None:
    assert Trial.parse(data).left_s(Uptime("", 1.0)) == 0.0


def test_a_folder_where_the_file_should_be_is_a_trial_whose_time_is_up(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    found = pending(tmp_path)
    assert found is not None
    assert found.left_s(Uptime.now()) == 0.0


def test_the_moment_names_the_start_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "boot").write_text("7e2f-11aa\n")
    assert Uptime.now({}, tmp_path / "boot").boot == "7e2f11aa"
    assert Uptime.now({"DOORSTEP_BOOT": "7e2f"}, tmp_path / "none").boot == "7e2f"
    assert Uptime.now({}, tmp_path / "none").boot == ""
    assert 0 < Uptime.now().seconds <= Uptime.now().seconds


def test_a_start_knows_the_files_of_trial_and_reset_by_the_same_names() -> None:
    assert TRIAL == FILE_NAME
    assert RESET == reset.MARKER
