"""Everything the household writes, once; then the power goes, and the journal is played again."""

from typing import Any

import pytest

from relay.base.config import LimitsConfig
from relay.base.ids import DeviceId, RoomId, ServerName
from relay.base.limits import MAX_FILTERS_PER_USER, TO_DEVICE_SEEN_CHANGES
from relay.household import (
    account_data,
    accounts,
    acknowledged,
    cross_signing,
    device_keys,
    device_lists,
    devices,
    filters,
    invitations,
    key_backup,
    profile,
    push_rules,
    remote_devices,
    sessions,
    to_device,
)
from relay.household.tables import TABLES
from relay.household.tokens import Tokens
from relay.store.ledger import Change, Index, Ledger
from relay.store.tables import Operation, Value
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import memory_ledger
from tests.unit.household.conftest import ALICE, BOB, CAROL, PHONE, TABLET, move_in
from tests.unit.household.signing import Signer
from tests.unit.household.test_key_backup import ALGORITHM, key
from tests.unit.household.test_remote_devices import listed, update

ALICES, FAR, ROOM = Signer(ALICE), ServerName("far.test"), RoomId("!a:box.test")


async def _live(ledger: Ledger) -> None:
    await ledger.run(move_in, (ALICE, PHONE), (ALICE, TABLET), (BOB, PHONE))
    await ledger.run(accounts.set_password, ALICE, "hash")
    await ledger.run(accounts.deactivate, BOB, 9)
    await ledger.run(sessions.open_session, ALICE, TABLET, None, 3, Tokens("a1", "r1", 99))
    await ledger.run(sessions.refresh, "r1", Tokens("a2", "r2", 199))
    session = await ledger.read(sessions.authenticate, "a2", 100)
    await ledger.run(sessions.confirm, session, 100)
    await ledger.run(devices.rename, ALICE, TABLET, "big one")
    await _keep_keys(ledger)
    await _hear_of_others(ledger)
    await _keep_things(ledger)


async def _keep_keys(ledger: Ledger) -> None:
    one_time: dict[str, Any] = {"c:a": {"k": 1}, "c:b": {"k": 2}}
    await ledger.run(device_keys.upload, ALICE, PHONE, ALICES.device(PHONE), one_time, {"c:f": {"k": 3}})
    for _ in range(3):
        await ledger.run(device_keys.claim_local, {ALICE: {PHONE: "c"}})
    await ledger.run(device_keys.withdraw_one_time)

    def forget_claims(change: Change) -> None:
        device_keys.drop_claims(change, change.intern(ALICE), PHONE, change.position)

    await ledger.run(forget_claims)
    await ledger.run(cross_signing.upload_keys, ALICE, ALICES.keys())
    signed = ALICES.sign(ALICES.device(PHONE), "self_signing")
    await ledger.run(cross_signing.add_signatures, ALICE, {ALICE: {PHONE: signed}})
    await ledger.run(devices.delete, ALICE, [PHONE])
    await ledger.run(cross_signing.erase, ALICE)
    await ledger.run(cross_signing.upload_keys, ALICE, ALICES.keys())


async def _hear_of_others(ledger: Ledger) -> None:
    await ledger.run(remote_devices.store_list, CAROL, listed("A", "B"))
    await ledger.run(remote_devices.apply_update, FAR, update("A", 6, 5, deleted=True))
    await ledger.run(remote_devices.store_list, CAROL, listed("A", "B"))
    await ledger.run(lambda change: remote_devices.forget(change, change.intern(CAROL)))
    await ledger.run(device_lists.note_changed, ALICE)
    await ledger.run(to_device.enqueue, ALICE, TABLET, CAROL, "m.test", {"n": 1}, "m1")
    await ledger.run(to_device.drop_up_to, ALICE, TABLET, ledger.position)
    await ledger.run(to_device.carry_seen)
    await ledger.run(acknowledged.note, ALICE, TABLET, ledger.position)
    await ledger.run(to_device.enqueue, ALICE, TABLET, CAROL, "m.test", {"n": 2})

    small = LimitsConfig(device_inbox_mib=1)
    for number in range(18):
        content = {"n": number, "filling": "x" * 60_000}
        await ledger.run(to_device.enqueue, ALICE, TABLET, CAROL, "m.test", content, limits=small)

    def much_later(change: Change) -> None:
        change.position += 2 * TO_DEVICE_SEEN_CHANGES + 1
        to_device.enqueue(change, ALICE, DeviceId("NONE"), CAROL, "m.test", {}, "m2")
        change.position -= 2 * TO_DEVICE_SEEN_CHANGES + 1

    await ledger.run(much_later)


async def _keep_things(ledger: Ledger) -> None:
    await ledger.run(account_data.put, BOB, None, "t", {})
    await ledger.run(account_data.put, BOB, None, "m.fully_read", {}, lazy=True)
    await ledger.run(account_data.erase, BOB)
    await ledger.run(account_data.set_tag, ALICE, ROOM, "u.x", {"order": 0.1})
    for field in ("displayname", "avatar_url"):
        await ledger.run(profile.put, ALICE, field, "x")
        await ledger.run(profile.put, BOB, field, "x")
    await ledger.run(profile.remove, ALICE, "avatar_url")
    await ledger.run(profile.erase, BOB)

    def many_filters(change: Change) -> None:
        for number in range(MAX_FILTERS_PER_USER + 1):
            filters.add(change, ALICE, {"n": number})

    await ledger.run(many_filters)
    await ledger.run(push_rules.edit_rule, ALICE, "override", ".m.rule.master", {"enabled": True})
    await ledger.run(invitations.create, "token", 1, 10)
    await ledger.run(invitations.consume, "token", ALICE, 2)
    await ledger.run(key_backup.create, ALICE, ALGORITHM, {"k": 1})
    await ledger.run(key_backup.update, ALICE, "1", ALGORITHM, {"k": 2})
    await ledger.run(key_backup.put_keys, ALICE, "1", {ROOM: {"s": key(), "t": key()}})
    await ledger.run(key_backup.delete_keys, ALICE, "1", ROOM, "s")
    await ledger.run(key_backup.delete_keys, ALICE, "1", ROOM)
    await ledger.run(key_backup.create, ALICE, ALGORITHM, {"k": 3})
    await ledger.run(key_backup.delete, ALICE, "1")


def _all_rows(index: Index) -> dict[str, list[Any]]:
    names = index.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'applied' ORDER BY name")
    return {name: sorted(index.rows(f"SELECT * FROM {name}"), key=repr) for (name,) in names}


async def test_every_operation_survives_a_power_cut_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    written: set[int] = set()
    write = Change.write

    def note(change: Change, operation: Operation, *params: Value) -> None:
        written.add(operation.number)
        write(change, operation, *params)

    monkeypatch.setattr(Change, "write", note)
    files = MemoryFiles()
    try:
        async with memory_ledger(TABLES, files=files) as ledger:
            await _live(ledger)
            await ledger.run(accounts.create, CAROL, "makes all before it durable", 1)
            before, cut = await ledger.read(_all_rows), files.copy()
    finally:
        files.unregister()
    assert {operation.number for operation in TABLES.operations} <= written
    try:
        for _ in range(2):
            again = cut.copy()
            async with memory_ledger(TABLES, files=again) as ledger:
                assert await ledger.read(_all_rows) == before
            again.unregister()
    finally:
        cut.unregister()


def test_operations_keep_to_the_numbers_of_the_household() -> None:
    numbers = [operation.number for operation in TABLES.operations]
    assert len(set(numbers)) == len(numbers)
    assert all(300 <= number < 500 for number in numbers)
