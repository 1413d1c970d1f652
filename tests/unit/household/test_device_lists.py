from relay.household import device_lists
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB, CAROL


async def test_a_change_is_told_to_those_who_asked_before_it(ledger: Ledger) -> None:
    await ledger.run(device_lists.note_changed, ALICE)
    first = ledger.position
    await ledger.run(device_lists.note_changed, CAROL)
    assert await ledger.read(device_lists.changed_since, 0, ledger.position) == {ALICE, CAROL}
    assert await ledger.read(device_lists.changed_since, first, ledger.position) == {CAROL}
    assert await ledger.read(device_lists.changed_since, ledger.position, ledger.position) == set()
    assert await ledger.read(device_lists.last_change, ALICE) == first
    assert await ledger.read(device_lists.last_change, BOB) == 0


async def test_who_changed_twice_is_not_lost_between_two_looks(ledger: Ledger) -> None:
    await ledger.run(device_lists.note_changed, ALICE)
    first = ledger.position
    await ledger.run(device_lists.note_changed, ALICE)
    assert await ledger.read(device_lists.changed_since, 0, first) == {ALICE}
