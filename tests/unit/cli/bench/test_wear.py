import pytest

from relay.cli.bench.wear import CARD_ENDURANCE_BYTES, ERASE_UNIT_BYTES, project


def test_a_year_is_365_such_days() -> None:
    year = project(10_000_000, 1_000, 1_000_000)
    assert year.bytes == 3.65e9
    assert year.flushes == 365_000


def test_the_best_card_writes_what_it_is_given_and_the_worst_a_unit_for_each_flush() -> None:
    year = project(10_000_000, 1_000, 0)
    assert year.best_years == pytest.approx(CARD_ENDURANCE_BYTES / 3.65e9)
    assert year.worst_bytes == 365_000 * ERASE_UNIT_BYTES
    assert year.worst_years == pytest.approx(CARD_ENDURANCE_BYTES / (365_000 * ERASE_UNIT_BYTES))


def test_large_writes_with_few_flushes_are_not_made_smaller() -> None:
    assert project(1e12, 1, 0).worst_bytes == 365e12


def test_the_example_of_the_research_comes_out() -> None:
    # 10,000 lone commits a day: 41 MB, and 15 TB a year on a card that copies a unit for each, two years of 32 GB.
    year = project(10_000 * 4096, 10_000, 0)
    assert year.bytes == pytest.approx(15e9, rel=0.01)
    assert year.worst_bytes == pytest.approx(15.3e12, rel=0.01)
    assert year.worst_years == pytest.approx(1.9, rel=0.01)


def test_what_is_kept_fills_the_card_and_nothing_kept_never_does() -> None:
    assert project(1, 1, 32e9 / 365).full_years == pytest.approx(1)
    assert project(0, 0, 0).full_years == project(0, 0, 0).best_years == float("inf")
