from relay.cli.bench.disk import Written
from relay.cli.bench.flash import BODIES, SENDERS, Scale, _message_rows, _year_rows
from relay.cli.bench.wear import project


def test_bytes_and_flushes_are_for_each_message_and_each_commit() -> None:
    rows = {row.name: row.value for row in _message_rows("x", Written(10_000, 110), 50, 100)}
    assert rows == {"x": 200.0, "x.flushes": 2.2, "x.flushes_per_commit": 1.1}


def test_a_server_without_a_count_of_commits_has_no_figure_of_it() -> None:
    assert [row.name for row in _message_rows("x", Written(1, 1), 1, None)] == ["x", "x.flushes"]


def test_every_number_of_senders_meets_every_size_unless_told() -> None:
    assert len(Scale().cases) == len(SENDERS) * len(BODIES) == 6


def test_a_year_says_when_the_card_is_full_only_if_it_ever_is() -> None:
    names = [row.name for row in _year_rows("year", project(1e6, 10, 1e6))]
    assert names[-1] == "year.card_full"
    assert [row.name for row in _year_rows("year", project(1e6, 10, 0))] == names[:-1]
