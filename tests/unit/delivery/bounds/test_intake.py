from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_INTAKE_SOURCES
from relay.delivery.bounds.intake import DAY_S, Intake


class Now:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_what_a_source_sent_leaks_away_at_a_days_worth_a_day() -> None:
    now = Now()
    intake = Intake(1000, now)
    intake.bucket("oma").level_bytes += 800
    now.s += DAY_S / 2
    bucket = intake.bucket("oma")
    assert bucket.level_bytes == 300
    assert intake.drained_in_s(bucket, 200) == DAY_S / 10
    now.s += DAY_S
    assert intake.bucket("oma").level_bytes == 0
    assert intake.drained_in_s(bucket, 200) == 0


def test_the_fullest_are_told_first_and_the_empty_not_at_all() -> None:
    intake = Intake(1000, Now())
    for source, size_bytes in (("a", 5), ("b", 500), ("c", 0), ("d", 50)):
        intake.bucket(source).level_bytes += size_bytes
    assert intake.fullest(2) == [("b", 500), ("d", 50)]
    assert intake.fullest(9) == [("b", 500), ("d", 50), ("a", 5)]


def test_as_many_sources_as_may_be_are_remembered_and_a_flood_is_not_forgotten_for_newcomers() -> None:
    intake = Intake(1000, Now())
    intake.bucket("flood").level_bytes += 900
    for number in range(MAX_INTAKE_SOURCES - 1):
        intake.bucket(str(number))
    assert len(intake._buckets) == MAX_INTAKE_SOURCES
    for number in range(100):
        intake.bucket(f"newcomer {number}")
    assert len(intake._buckets) == MAX_INTAKE_SOURCES
    assert intake.fullest(1) == [("flood", 900)]


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(0, 500)), max_size=30))
def test_a_level_is_never_negative_and_never_more_than_was_sent(steps: list[tuple[float, int]]) -> None:
    now, sent = Now(), 0
    intake = Intake(1000, now)
    for pause_s, size_bytes in steps:
        now.s += pause_s
        intake.bucket("x").level_bytes += size_bytes
        sent += size_bytes
        assert 0 <= intake.bucket("x").level_bytes <= sent
