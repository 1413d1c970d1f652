import pytest

from relay.base.config import DeliveryConfig
from relay.delivery.outbox.backoff import is_given_up, next_delay_s

CONFIG = DeliveryConfig(retry_first_s=2, retry_most_s=3600, give_up_after_days=30)
DAY_MS = 86_400_000


def test_the_delay_doubles_up_to_the_longest() -> None:
    delays = [next_delay_s(failures, CONFIG, jitter=1) for failures in (1, 2, 3, 12, 5000)]
    assert delays == [2, 4, 8, 3600, 3600]


def test_jitter_takes_at_most_half() -> None:
    assert next_delay_s(3, CONFIG, jitter=0) == 4


def test_what_the_peer_asks_for_is_kept_within_bounds() -> None:
    assert next_delay_s(1, CONFIG, jitter=1, asked_s=60) == 60
    assert next_delay_s(1, CONFIG, jitter=1, asked_s=0.1) == 2
    assert next_delay_s(1, CONFIG, jitter=1, asked_s=1e9) == 3600


def test_nothing_failed_is_no_reason_to_wait() -> None:
    with pytest.raises(ValueError, match="nothing"):
        next_delay_s(0, CONFIG, jitter=1)


def test_a_destination_is_given_up_after_thirty_days() -> None:
    assert not is_given_up(None, 100 * DAY_MS, CONFIG)
    assert not is_given_up(5, 30 * DAY_MS + 5, CONFIG)
    assert is_given_up(5, 30 * DAY_MS + 6, CONFIG)
