import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.token_bucket import TokenBucket


def test_a_burst_is_taken_at_once_and_then_as_many_as_the_time_gives() -> None:
    bucket = TokenBucket(per_s=10, burst=5, now_s=100.0)
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.wait_s(100.0) == pytest.approx(0.1)
    assert bucket.take(100.11)
    assert not bucket.take(100.12)
    assert [bucket.take(200.0) for _ in range(6)] == [True] * 5 + [False]


def test_what_cost_more_than_there_was_is_waited_for() -> None:
    bucket = TokenBucket(per_s=10, burst=5, now_s=0.0)
    bucket.spend(25, 0.0)
    assert bucket.wait_s(0.0) == pytest.approx(2.1)
    assert not bucket.take(2.0)
    assert bucket.take(2.2)


def test_a_clock_set_back_freezes_nothing() -> None:
    bucket = TokenBucket(per_s=1, burst=1, now_s=1000.0)
    assert bucket.take(1000.0)
    assert not bucket.take(0.0)
    assert bucket.take(1.1)


@given(st.lists(st.floats(0, 0.5), max_size=60))
def test_never_more_than_burst_and_rate_allow(pauses_s: list[float]) -> None:
    bucket, now_s, taken = TokenBucket(per_s=4, burst=3, now_s=0.0), 0.0, 0
    for pause_s in pauses_s:
        now_s += pause_s
        taken += bucket.take(now_s)
    assert taken <= 3 + 4 * now_s + 1e-6
