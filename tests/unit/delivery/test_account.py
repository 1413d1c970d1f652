from relay.base.config import Config
from relay.base.ids import DeviceId, ServerName, UserId
from relay.base.limits import MAX_SHOWN_HOLDERS, MIB
from relay.delivery.account import account
from relay.delivery.outbox import queue
from relay.household import to_device
from relay.store.ledger import Change
from tests.fakes.family import open_family

CONFIG = Config.parse({"server": {"name": "box.test"}})


async def test_the_account_names_every_queue_with_its_bytes_and_its_limit() -> None:
    async with open_family() as family:
        ann = await family.app("ann")
        await ann.ask("POST", "/_matrix/media/v3/upload", raw=b"x" * 5000)

        def leave_things(change: Change) -> None:
            to_device.enqueue(change, ann.user, DeviceId("PHONE"), UserId("@o:oma.example"), "m.x", {"a": "b" * 1000})
            queue.enqueue(change, ServerName("oma.example"), "m.direct_to_device", {"a": "b" * 2000})

        await family.ledger.run(leave_things)
        held = await family.ledger.read(account, CONFIG)
        wholes = {holder.level.what: holder.level for holder in held.wholes}
        assert wholes["files"].held_bytes == 5000
        assert wholes["files"].limit_bytes == 4096 * MIB
        (device,) = held.devices
        assert device.level.what == f"{ann.user} PHONE"
        assert 1000 < device.level.held_bytes == wholes["messages for devices here"].held_bytes < 1200
        (outbox,) = held.outboxes
        assert (outbox.level.what, outbox.level.limit_bytes) == ("oma.example", 8 * MIB)
        assert 2000 < outbox.level.held_bytes == wholes["messages for devices elsewhere"].held_bytes < 2200
        assert [(one.level.what, one.level.held_bytes) for one in held.people] == [(ann.user, 5000)]
        assert (held.rooms, held.servers) == ([], [])
        assert all(holder.level.next_step for holder in held.all())


async def test_of_each_list_the_fullest_are_shown() -> None:
    async with open_family() as family:

        def leave_things(change: Change) -> None:
            for number in range(MAX_SHOWN_HOLDERS + 5):
                queue.enqueue(change, ServerName(f"s{number}.example"), "m.x", {"a": "b" * (number + 1)})

        await family.ledger.run(leave_things)
        held = await family.ledger.read(account, CONFIG)
        assert len(held.outboxes) == MAX_SHOWN_HOLDERS
        assert held.outboxes[0].level.what == f"s{MAX_SHOWN_HOLDERS + 4}.example"
