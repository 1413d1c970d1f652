"""How far each device has come."""

from relay.base.ids import DeviceId, UserId
from relay.base.limits import ACKNOWLEDGED_RESOLUTION_MS
from relay.household import accounts, acknowledged, devices
from relay.household.acknowledged import Acknowledged
from relay.household.tables import TABLES
from relay.store.ledger import Change, Ledger
from tests.fakes.clock import FakeClock
from tests.fakes.ledger import memory_ledger

ANN, PHONE, DESK = UserId("@ann:box.test"), DeviceId("PHONE"), DeviceId("DESK")


def settle_in(change: Change) -> None:
    accounts.create(change, ANN, "hash", 1)
    devices.ensure(change, ANN, PHONE, None, 1)


async def held(ledger: Ledger) -> int | None:
    return await ledger.read(acknowledged.position_of, ANN, PHONE)


async def test_a_device_is_noted_rarely_and_only_forwards() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(settle_in)
        clock = FakeClock()
        noted = Acknowledged(ledger, clock)
        assert await held(ledger) is None
        await noted.note(ANN, PHONE, 5)
        assert await held(ledger) == 5
        await noted.note(ANN, PHONE, 7)
        assert await held(ledger) == 5
        clock.now_ms += ACKNOWLEDGED_RESOLUTION_MS
        await noted.note(ANN, PHONE, 6)
        assert await held(ledger) == 6
        await Acknowledged(ledger, clock).note(ANN, PHONE, 4)
        assert await held(ledger) == 6


async def test_what_hears_nothing_new_writes_nothing() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(settle_in)
        clock = FakeClock()
        noted = Acknowledged(ledger, clock)
        await noted.note(ANN, PHONE, 5)
        before = ledger.position
        for _ in range(3):
            clock.now_ms += ACKNOWLEDGED_RESOLUTION_MS
            await noted.note(ANN, PHONE, 5)
        assert ledger.position == before


async def test_a_deleted_device_is_forgotten_and_not_noted_again() -> None:
    async with memory_ledger(TABLES) as ledger:
        await ledger.run(settle_in)
        await ledger.run(acknowledged.note, ANN, PHONE, 5)
        await ledger.run(acknowledged.note, ANN, DESK, 5)
        assert await ledger.read(acknowledged.position_of, ANN, DESK) is None
        await ledger.run(devices.delete, ANN, [PHONE])
        await ledger.run(acknowledged.note, ANN, PHONE, 6)
        assert await held(ledger) is None
