import pytest

from relay.base.errors import TooLargeError
from relay.base.ids import RoomId
from relay.base.limits import MAX_ACCOUNT_DATA_BYTES, MAX_TAGS_PER_ROOM
from relay.household import account_data, push_rules
from relay.household.faults import ServerManagedError
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB

ROOM = RoomId("!room:box.test")


async def test_data_is_kept_by_person_room_and_type(ledger: Ledger) -> None:
    await ledger.run(account_data.put, ALICE, None, "m.direct", {"@x:y": ["!z"]})
    await ledger.run(account_data.put, ALICE, ROOM, "m.direct", {"in": "room"})
    assert await ledger.read(account_data.get, ALICE, None, "m.direct") == {"@x:y": ["!z"]}
    assert await ledger.read(account_data.get, ALICE, ROOM, "m.direct") == {"in": "room"}
    assert await ledger.read(account_data.get, ALICE, ROOM, "other") is None
    assert await ledger.read(account_data.get, BOB, None, "m.direct") is None


async def test_a_sync_is_told_what_changed_since_and_push_rules_at_first(ledger: Ledger) -> None:
    await ledger.run(account_data.put, ALICE, None, "one", {"n": 1})
    seen = ledger.position
    everywhere, by_room = await ledger.read(account_data.since, ALICE, 0)
    assert set(everywhere) == {"one", "m.push_rules"}
    assert by_room == {}
    await ledger.run(account_data.put, ALICE, ROOM, "two", {"n": 2})
    await ledger.run(account_data.put, ALICE, None, "one", {"n": 1})
    assert await ledger.read(account_data.since, ALICE, seen) == ({}, {ROOM: {"two": {"n": 2}}})
    seen = ledger.position
    await ledger.run(push_rules.edit_rule, ALICE, "override", ".m.rule.master", {"enabled": True})
    everywhere, _ = await ledger.read(account_data.since, ALICE, seen)
    assert everywhere["m.push_rules"]["global"]["override"][0]["enabled"] is True
    assert (await ledger.read(account_data.get, ALICE, None, "m.push_rules")) == everywhere["m.push_rules"]


async def test_data_has_a_largest_size(ledger: Ledger) -> None:
    fits = {"": "x" * (MAX_ACCOUNT_DATA_BYTES - len('{"":""}') - 1)}
    await ledger.run(account_data.put, ALICE, None, "t", fits)
    with pytest.raises(TooLargeError):
        await ledger.run(account_data.put, ALICE, None, "tt", fits)


@pytest.mark.parametrize("managed", ["m.fully_read", "m.push_rules"])
def test_what_the_box_writes_itself_is_refused(managed: str) -> None:
    with pytest.raises(ServerManagedError):
        account_data.refuse_server_managed(managed)
    account_data.refuse_server_managed("m.direct")


async def test_tags_are_account_data_of_a_room(ledger: Ledger) -> None:
    await ledger.run(account_data.remove_tag, ALICE, ROOM, "never")
    assert await ledger.read(account_data.get, ALICE, ROOM, "m.tag") is None
    await ledger.run(account_data.set_tag, ALICE, ROOM, "m.favourite", {"order": 0.5})
    await ledger.run(account_data.set_tag, ALICE, ROOM, "u.work", {})
    assert await ledger.read(account_data.tags, ALICE, ROOM) == {"m.favourite": {"order": 0.5}, "u.work": {}}
    await ledger.run(account_data.remove_tag, ALICE, ROOM, "u.work")
    assert await ledger.read(account_data.get, ALICE, ROOM, "m.tag") == {"tags": {"m.favourite": {"order": 0.5}}}


async def test_a_room_has_tags_without_number_for_nobody(ledger: Ledger) -> None:
    await ledger.run(account_data.put, ALICE, ROOM, "m.tag", {"tags": {str(n): {} for n in range(MAX_TAGS_PER_ROOM)}})
    await ledger.run(account_data.set_tag, ALICE, ROOM, "0", {"order": 1})
    with pytest.raises(TooLargeError):
        await ledger.run(account_data.set_tag, ALICE, ROOM, "one more", {})


async def test_a_closed_account_leaves_no_data(ledger: Ledger) -> None:
    await ledger.run(account_data.put, ALICE, None, "one", {})
    await ledger.run(account_data.erase, ALICE)
    assert await ledger.read(account_data.get, ALICE, None, "one") is None
