import pytest

from relay.base.errors import NotFoundError, TooLargeError
from relay.base.limits import MAX_FILTER_BYTES, MAX_FILTERS_PER_USER
from relay.household import filters
from relay.store.ledger import Change, Ledger
from tests.unit.household.conftest import ALICE, BOB


async def test_the_same_filter_has_the_same_id(ledger: Ledger) -> None:
    first = await ledger.run(filters.add, ALICE, {"room": {"a": 1, "b": 2}})
    assert await ledger.run(filters.add, ALICE, {"room": {"b": 2, "a": 1}}) == first
    assert await ledger.run(filters.add, ALICE, {}) != first
    assert await ledger.read(filters.get, ALICE, first) == {"room": {"a": 1, "b": 2}}
    with pytest.raises(NotFoundError):
        await ledger.read(filters.get, BOB, first)


@pytest.mark.parametrize("name", ["", "0", "-1", "x", "9" * 40, "\u0661"])
async def test_unknown_filters_are_not_found(ledger: Ledger, name: str) -> None:
    with pytest.raises(NotFoundError):
        await ledger.read(filters.get, ALICE, name)


async def test_the_oldest_filter_gives_way(ledger: Ledger) -> None:
    def fill(change: Change) -> None:
        for number in range(MAX_FILTERS_PER_USER + 1):
            filters.add(change, ALICE, {"n": number})

    await ledger.run(fill)
    with pytest.raises(NotFoundError):
        await ledger.read(filters.get, ALICE, "1")
    assert await ledger.read(filters.get, ALICE, "2") == {"n": 1}


async def test_a_filter_has_a_largest_size(ledger: Ledger) -> None:
    await ledger.run(filters.add, ALICE, {"": "x" * (MAX_FILTER_BYTES - 7)})
    with pytest.raises(TooLargeError):
        await ledger.run(filters.add, ALICE, {"": "x" * (MAX_FILTER_BYTES - 6)})
