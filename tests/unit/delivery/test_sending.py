"""The same request twice has one effect."""

import pytest

from relay.base.ids import DeviceId, EventId, UserId
from relay.delivery.sending import (
    _RECORD,
    KEPT_MS,
    TABLES,
    AlreadySentError,
    ClientTransaction,
    expire,
    record,
    refuse_repeated,
)
from relay.store.ledger import Change
from tests.fakes.ledger import memory_ledger

EVENT = EventId("$" + "A" * 43)
FIRST = ClientTransaction(UserId("@a:h"), DeviceId("D"), "send/!r:h/m.room.message", "t1")


async def test_a_repeated_transaction_names_the_event_of_the_first() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(record, FIRST, EVENT, 1)
        with pytest.raises(AlreadySentError) as repeated:
            await ledger.read(refuse_repeated, FIRST)
        assert repeated.value.event_id == EVENT


@pytest.mark.parametrize(
    "other",
    [
        ClientTransaction(UserId("@b:h"), FIRST.device, FIRST.path, "t1"),
        ClientTransaction(FIRST.user, DeviceId("E"), FIRST.path, "t1"),
        ClientTransaction(FIRST.user, FIRST.device, "send/!r:h/m.reaction", "t1"),
        ClientTransaction(FIRST.user, FIRST.device, FIRST.path, "t2"),
        ClientTransaction(FIRST.user, DeviceId(""), "D" + FIRST.path, "t1"),
    ],
)
async def test_another_person_device_path_or_id_is_another_transaction(other: ClientTransaction) -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(record, FIRST, EVENT, 1)
        await ledger.read(refuse_repeated, other)


async def test_a_transaction_without_an_event_is_remembered_too() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(record, FIRST, None, 1)
        with pytest.raises(AlreadySentError) as repeated:
            await ledger.read(refuse_repeated, FIRST)
        assert repeated.value.event_id is None


NOW_MS = 1_800_000_000_000


async def test_after_a_day_old_transactions_go() -> None:
    def many(change: Change, start: int, now_ms: int) -> None:
        record(change, ClientTransaction(FIRST.user, FIRST.device, FIRST.path, f"n{start}"), None, now_ms)

    async with memory_ledger(TABLES) as ledger:
        for number in range(600):
            await ledger.run(many, number, NOW_MS)
        for number in range(600, 1200):
            await ledger.run(many, number, NOW_MS + KEPT_MS + 1)
        left = await ledger.read(lambda index: index.value("SELECT count(*) FROM client_transaction"))
        assert 600 <= left < 1200


async def test_a_transaction_is_found_however_many_others_came_after_it() -> None:
    def later(change: Change, position: int) -> None:
        change.write(_RECORD, position, b"%016d" % position, None, "x", 1)

    async with memory_ledger(TABLES) as ledger:
        await ledger.run(record, FIRST, EVENT, 1)
        for position in (9_000, 90_000, 900_000):
            await ledger.run(later, position)
        with pytest.raises(AlreadySentError) as repeated:
            await ledger.read(refuse_repeated, FIRST)
        assert repeated.value.event_id == EVENT
        await ledger.read(refuse_repeated, ClientTransaction(FIRST.user, FIRST.device, FIRST.path, "t2"))


async def test_what_was_sent_before_the_clock_was_set_is_as_old_as_what_came_next() -> None:
    def many(change: Change, first: int, now_ms: int) -> None:
        record(change, ClientTransaction(FIRST.user, FIRST.device, FIRST.path, f"n{first}"), None, now_ms)

    async def count() -> object:
        return await ledger.read(lambda index: index.value("SELECT count(*) FROM client_transaction"))

    async with memory_ledger(TABLES) as ledger:
        for number in range(3):
            await ledger.run(many, number, 5)
        await ledger.run(expire, NOW_MS - KEPT_MS)
        assert await count() == 3
        await ledger.run(many, 3, NOW_MS)
        await ledger.run(expire, NOW_MS)
        assert await count() == 4
        await ledger.run(expire, NOW_MS + 1)
        assert await count() == 0


async def test_there_is_an_end_to_what_is_kept_from_before_the_clock_was_set() -> None:
    def fill(change: Change) -> None:
        for number in range(250):
            change.write(_RECORD, change.position * 1000 + number, b"%016d" % number, None, "x", 5)

    async with memory_ledger(TABLES) as ledger:
        for _ in range(5):
            await ledger.run(fill)
        await ledger.run(expire, NOW_MS)
        assert await ledger.read(lambda index: index.value("SELECT count(*) FROM client_transaction")) == 1250 - 512
