import pytest

from relay.base.config import RateConfig
from relay.base.errors import RateLimitedError
from relay.base.limits import MAX_REMEMBERED_LOGIN_KEYS
from relay.household.login_limits import LoginLimits


class Time:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _limits(burst: int = 2, per_minute: float = 6) -> tuple[LoginLimits, Time]:
    time = Time()
    return LoginLimits(RateConfig(login_burst=burst, login_per_minute=per_minute), now_s=time), time


def test_attempts_run_out_and_come_back() -> None:
    limits, time = _limits()
    limits.spend("1.2.3.4", "alice")
    limits.spend("1.2.3.4", "alice")
    with pytest.raises(RateLimitedError) as raised:
        limits.spend("1.2.3.4", "alice")
    assert raised.value.retry_after_s == pytest.approx(10)
    time.now_s = 10.001
    limits.spend("1.2.3.4", "alice")


def test_neither_many_accounts_nor_many_addresses_help() -> None:
    limits, _ = _limits()
    for account in ("a", "b"):
        limits.spend("1.2.3.4", account)
    with pytest.raises(RateLimitedError):
        limits.spend("1.2.3.4", "c")
    limits, _ = _limits()
    for address in ("1.1.1.1", "2.2.2.2"):
        limits.spend(address, "alice")
    with pytest.raises(RateLimitedError):
        limits.spend("3.3.3.3", "alice")
    limits.spend("3.3.3.3", "bob")


def test_a_whole_ipv6_network_is_one_guesser() -> None:
    limits, _ = _limits()
    limits.spend("2001:db8::1", "a")
    limits.spend("2001:db8::2", "b")
    with pytest.raises(RateLimitedError):
        limits.spend("2001:db8::ffff:3", "c")
    limits.spend("2001:db8:0:1::1", "c")
    limits.spend("not:an address", "d")


def test_a_right_password_costs_nothing() -> None:
    limits, _ = _limits()
    for _ in range(10):
        limits.spend("1.2.3.4", "alice")
        limits.forgive("1.2.3.4", "alice")
    limits.forgive("never", "seen")
    limits.spend("1.2.3.4", "alice")


def test_memory_is_bounded() -> None:
    limits, _ = _limits()
    for number in range(MAX_REMEMBERED_LOGIN_KEYS):
        limits.spend(f"10.0.{number}", f"user{number}")
    assert len(limits._buckets) == MAX_REMEMBERED_LOGIN_KEYS
