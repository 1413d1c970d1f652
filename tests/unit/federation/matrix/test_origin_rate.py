import pytest

from relay.base.errors import RateLimitedError
from relay.base.limits import MAX_RATE_BUCKETS
from relay.federation.matrix.origin_rate import OriginRate
from tests.fakes.clock import FakeClock


def test_a_burst_passes_and_then_the_steady_rate() -> None:
    clock = FakeClock(tick_ms=0)
    rate = OriginRate(per_s=2, burst=3, clock=clock)
    for _ in range(3):
        rate.take("oma")
    with pytest.raises(RateLimitedError) as caught:
        rate.take("oma")
    assert caught.value.retry_after_s == pytest.approx(0.5)
    rate.take("other")
    clock.now_ms += 500
    rate.take("oma")
    with pytest.raises(RateLimitedError):
        rate.take("oma")


def test_looking_costs_nothing_and_a_clock_set_back_gives_nothing() -> None:
    clock = FakeClock(tick_ms=0)
    rate = OriginRate(per_s=1, burst=1, clock=clock)
    rate.check("oma")
    rate.take("oma")
    clock.now_ms -= 3_600_000
    with pytest.raises(RateLimitedError):
        rate.check("oma")
    clock.now_ms += 1000
    rate.take("oma")


def test_only_so_many_origins_are_remembered() -> None:
    rate = OriginRate(per_s=1, burst=1, clock=FakeClock(tick_ms=0))
    rate.take("oma")
    for number in range(MAX_RATE_BUCKETS):
        rate.take(f"s{number}")
    rate.take("oma")  # forgotten: it has its burst again
    with pytest.raises(RateLimitedError):
        rate.take(f"s{MAX_RATE_BUCKETS - 1}")
