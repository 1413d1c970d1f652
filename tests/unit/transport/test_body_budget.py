import pytest

from relay.base.errors import RateLimitedError
from relay.base.limits import MAX_SMALL_BODIES_BYTES, SMALL_BODY_BYTES
from relay.transport.body_budget import BodyBudget

LARGE = SMALL_BODY_BYTES + 1


def test_all_addresses_together_have_a_limit_and_each_its_own() -> None:
    budget = BodyBudget(most_bytes=10 * LARGE, most_per_address_bytes=6 * LARGE)
    budget.take("a", 0, 6 * LARGE)
    with pytest.raises(RateLimitedError) as caught:
        budget.take("a", 6 * LARGE, 1)
    assert caught.value.retry_after_s
    budget.take("b", 0, 4 * LARGE)
    with pytest.raises(RateLimitedError):
        budget.take("c", SMALL_BODY_BYTES, 1)
    budget.give_back("a", 6 * LARGE)
    budget.take("c", SMALL_BODY_BYTES, 1)
    assert budget.held_bytes == 4 * LARGE + 1


def test_large_bodies_leave_room_for_small_ones_which_have_a_limit_too() -> None:
    budget = BodyBudget(most_bytes=LARGE, most_per_address_bytes=LARGE)
    budget.take("a", 0, LARGE)
    for _ in range(MAX_SMALL_BODIES_BYTES // SMALL_BODY_BYTES):
        budget.take("b", 0, SMALL_BODY_BYTES)
    with pytest.raises(RateLimitedError):
        budget.take("c", 0, SMALL_BODY_BYTES)
