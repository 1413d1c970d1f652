from pathlib import Path

from relay.box.profile import load_profile
from relay.box.rtc import RealTimeClock, look_at_rtc
from tests.fakes.board_tree import BoardTree


def test_the_clock_that_set_the_time_counts(tmp_path: Path) -> None:
    tree = BoardTree(tmp_path, load_profile("raspberry-pi-5"))
    tree.write("sys/class/rtc/rtc1/name", "rtc-ds1307 1-0068\n")
    tree.write("sys/class/rtc/rtc1/hctosys", "0\n")
    assert look_at_rtc(tmp_path) == RealTimeClock("rtc0", "rtc-ds1307 1-0068", set_the_time=True, shows_s=1_800_000_000)
    tree.rtc(shows_s=5, set_the_time=False)
    tree.write("sys/class/rtc/rtc1/hctosys", "1\n")
    found = look_at_rtc(tmp_path)
    assert found is not None
    assert found.device == "rtc1"


def test_a_clock_that_lost_the_time_shows_none(tmp_path: Path) -> None:
    BoardTree(tmp_path, load_profile("raspberry-pi-5")).rtc(shows_s=None, set_the_time=False)
    found = look_at_rtc(tmp_path)
    assert found is not None
    assert (found.device, found.shows_s, found.set_the_time) == ("rtc0", None, False)


def test_a_board_without_one_has_none(tmp_path: Path) -> None:
    assert look_at_rtc(tmp_path) is None
