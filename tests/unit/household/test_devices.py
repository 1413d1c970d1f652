import pytest

from relay.base.errors import ForbiddenError
from relay.base.ids import DeviceId
from relay.base.limits import MAX_DEVICE_NAME_CHARACTERS, MAX_DEVICES_PER_USER
from relay.household import devices, to_device
from relay.household.devices import Device
from relay.household.faults import UnknownDeviceError
from relay.store.ledger import Change, Ledger
from tests.unit.household.conftest import ALICE, BOB, CAROL, PHONE, TABLET


async def test_devices_are_listed_renamed_and_deleted_for_their_owner_only(home: Ledger) -> None:
    await home.run(devices.rename, ALICE, PHONE, "x" * 1_000)
    listed = await home.read(devices.list_devices, ALICE)
    assert listed == [Device(PHONE, "x" * MAX_DEVICE_NAME_CHARACTERS, 1_000), Device(TABLET, "the tablet", 1_000)]
    with pytest.raises(UnknownDeviceError):
        await home.run(devices.rename, BOB, TABLET, "mine")
    assert not await home.run(devices.delete, BOB, [TABLET, DeviceId("NONE")])
    assert await home.read(devices.exists, ALICE, TABLET)


async def test_a_deleted_device_takes_its_inbox_along(home: Ledger) -> None:
    await home.run(to_device.enqueue, ALICE, PHONE, CAROL, "m.test", {})
    await home.run(devices.delete, ALICE, [PHONE])
    await home.run(devices.ensure, ALICE, PHONE, None, 5)
    assert await home.read(to_device.pending, ALICE, PHONE, 0, home.position, 10) == []


async def test_nobody_has_devices_without_number(home: Ledger) -> None:
    def fill(change: Change) -> None:
        for number in range(MAX_DEVICES_PER_USER - 1):
            devices.ensure(change, BOB, DeviceId(f"D{number}"), None, 1)

    await home.run(fill)
    await home.run(devices.ensure, BOB, PHONE, None, 2)
    with pytest.raises(ForbiddenError):
        await home.run(devices.ensure, BOB, TABLET, None, 2)
