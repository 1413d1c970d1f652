from typing import Any

import trio

from relay.base.ids import DeviceId, UserId
from relay.household import device_keys, remote_devices
from relay.store.ledger import Change
from tests.fakes.federated import FederatedBox, FederatedTown


def publish(change: Change, user: UserId) -> None:
    keys: dict[str, Any] = {"user_id": user, "device_id": "D1", "algorithms": [], "keys": {"ed25519:D1": "key"}}
    device_keys.upload(change, user, DeviceId("D1"), keys, {}, {})


async def updates_about(box: FederatedBox, user: UserId) -> int:
    """Return how many device list updates of `user` ever waited in the outboxes of `box`."""
    rows = await box.ledger.read(
        lambda index: index.rows("SELECT content FROM outbox_edu WHERE kind = 'm.device_list_update'")
    )
    return sum(1 for (content,) in rows if user.encode() in content)


async def test_somebody_who_joins_is_introduced_to_servers_that_are_new_to_them() -> None:
    async with trio.open_nursery() as nursery:
        town = FederatedTown(nursery)
        async with town.box("ada.example") as ada, town.box("bob.example") as bob:
            alice, adam, bert = await ada.add_user("alice"), await ada.add_user("adam"), await bob.add_user("bert")
            await ada.ledger.run(publish, adam)
            room = await ada.create(alice)
            await bob.joining.join(bert, room, [ada.name], {})
            await town.cut_off("bob.example")
            await ada.joining.join(adam, room, [], {})
            with trio.fail_after(2):
                while not await updates_about(ada, adam):
                    await trio.sleep(0.01)
            # Bob's server knows adam now: a second room with it makes no second introduction.
            second = await ada.create(alice)
            await bob.joining.join(bert, second, [ada.name], {})
            await ada.joining.join(adam, second, [], {})
            await trio.sleep(0.05)
            assert await updates_about(ada, adam) == 1
        nursery.cancel_scope.cancel()


async def test_what_is_known_of_somebody_who_has_gone_is_not_believed_any_more() -> None:
    async with trio.open_nursery() as nursery:
        town = FederatedTown(nursery)
        async with town.box("ada.example") as ada, town.box("bob.example") as bob:
            alice, bert = await ada.add_user("alice"), await bob.add_user("bert")
            room, second = await ada.create(alice), await ada.create(alice)
            for one in (room, second):
                await bob.joining.join(bert, one, [ada.name], {})
            await ada.ledger.run(remote_devices.store_list, bert, {"stream_id": 1, "devices": []})
            await bob.leaving.leave(bert, room)
            with ada.ledger.watch(("room", room)) as watch:
                while await ada.membership(room, bert) == "join":
                    await watch.wait()
            await trio.sleep(0.05)
            assert await ada.ledger.read(remote_devices.is_current, bert)
            await bob.leaving.leave(bert, second)
            with trio.fail_after(2):
                while await ada.ledger.read(remote_devices.is_current, bert):
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
