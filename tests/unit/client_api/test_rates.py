"""Rates: a burst, then a steady flow."""

import pytest
import trio
import trio.testing

from relay.base.config import RateConfig
from relay.base.errors import RateLimitedError
from relay.base.ids import UserId
from relay.client_api import rates
from relay.client_api.rates import MessageRate

ANN, BOB = UserId("@ann:h"), UserId("@bob:h")


async def test_after_the_burst_one_waits_as_long_as_said(autojump_clock: trio.testing.MockClock) -> None:
    rate = MessageRate(RateConfig(message_per_s=2.0, message_burst=3))
    for _ in range(3):
        rate.check(ANN)
    with pytest.raises(RateLimitedError) as refused:
        rate.check(ANN)
    rate.check(BOB)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    await trio.sleep(0.5)
    rate.check(ANN)
    with pytest.raises(RateLimitedError):
        rate.check(ANN)


async def test_a_rest_fills_the_burst_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    rate = MessageRate(RateConfig(message_per_s=2.0, message_burst=3))
    await trio.sleep(100)
    for _ in range(3):
        rate.check(ANN)
    with pytest.raises(RateLimitedError):
        rate.check(ANN)


async def test_who_was_quiet_longest_is_forgotten_first(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MAX_RATE_ENTRIES", 1)
    rate = MessageRate(RateConfig(message_per_s=1.0, message_burst=1))
    rate.check(ANN)
    with pytest.raises(RateLimitedError):
        rate.check(ANN)
    rate.check(BOB)
    rate.check(ANN)
