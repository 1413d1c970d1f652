import datetime
from pathlib import Path

from relay.base.clock import EARLIEST, SystemClock, is_set, stamped, system_knows_time


def test_the_clock_is_in_milliseconds_of_this_century() -> None:
    assert 1_700_000_000_000 < SystemClock().wall_ms() < 4_000_000_000_000


def test_a_package_knows_the_moment_of_its_commit(tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text("0.1.0+20261123194643.88d376f1a~deb13\n")
    assert stamped(version) == datetime.datetime(2026, 11, 23, 19, 46, 43, tzinfo=datetime.UTC)


def test_without_a_stamp_that_can_be_read_the_date_of_the_release_counts(tmp_path: Path) -> None:
    released = stamped(tmp_path / "version")
    assert released == EARLIEST
    for text in ("0.1.0+20261399999999.abc", "0.1.0", "\xff"):
        (tmp_path / "version").write_text(text, "latin-1")
        assert stamped(tmp_path / "version") == released


def test_a_clock_before_the_release_was_never_set() -> None:
    assert not is_set(0.0)
    assert not is_set(EARLIEST.timestamp() - 1)
    assert is_set(EARLIEST.timestamp())
    assert system_knows_time()
