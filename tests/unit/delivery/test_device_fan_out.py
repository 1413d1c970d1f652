import contextlib
from collections.abc import AsyncIterator
from typing import Any

import trio

from relay.base.ids import DeviceId, RoomId, ServerName, UserId
from relay.delivery import device_fan_out
from relay.delivery.outbox import queue as outbox_queue
from relay.household import device_keys, device_lists, devices
from relay.store.ledger import Change
from tests.fakes.federated import FederatedBox, FederatedTown

OMA, D1, D2 = ServerName("oma.example"), DeviceId("D1"), DeviceId("D2")


@contextlib.asynccontextmanager
async def box_with_a_shared_room() -> AsyncIterator[tuple[FederatedBox, RoomId, UserId]]:
    """A box whose alice is in a room with oma's ole; oma has gone since."""
    async with trio.open_nursery() as nursery:
        town = FederatedTown(nursery)
        async with town.box("ada.example") as ada:
            alice = await ada.add_user("alice")
            room = await ada.create(alice)
            async with town.box("oma.example") as oma:
                await oma.joining.join(await oma.add_user("ole"), room, [ada.name], {})
            yield ada, room, alice
        nursery.cancel_scope.cancel()


async def waiting(box: FederatedBox, server: ServerName = OMA) -> list[dict[str, Any]]:
    batch = await box.ledger.read(outbox_queue.next_batch, server, 0)
    return batch.edus


def upload(change: Change, user: UserId, device: DeviceId) -> int:
    keys = {
        "user_id": user,
        "device_id": device,
        "algorithms": [],
        "keys": {f"ed25519:{device}": f"key of {device} {change.position}"},
    }
    device_keys.upload(change, user, device, keys, {}, {})
    device_fan_out.note(change, user, device)
    return change.position


async def test_servers_and_people_that_share_a_room_are_told() -> None:
    async with box_with_a_shared_room() as (ada, room, alice):
        adam, stranger = await ada.add_user("adam"), await ada.add_user("stranger")
        await ada.joining.join(adam, room, [], {})
        with ada.ledger.watch(("user", alice), ("user", adam), ("user", stranger)) as watch:
            stream = await ada.ledger.run(upload, alice, D1)
            assert await watch.wait() == {("user", alice), ("user", adam)}
        (edu,) = [edu for edu in await waiting(ada) if edu["content"]["user_id"] == alice]
        content = edu["content"]
        assert edu["edu_type"] == "m.device_list_update"
        assert (content["user_id"], content["device_id"], content["stream_id"]) == (alice, D1, stream)
        assert content["keys"]["keys"] == {"ed25519:D1": f"key of D1 {stream}"}
        assert alice in await ada.ledger.read(device_lists.changed_since, stream - 1, stream)
        assert await waiting(ada, ServerName("elsewhere.example")) == []


async def test_each_update_names_the_one_before_it() -> None:
    async with box_with_a_shared_room() as (ada, _, alice):
        first = await ada.ledger.run(upload, alice, D1)
        previous = await ada.ledger.read(device_lists.last_change, alice)
        assert previous == first
        await ada.ledger.run(upload, alice, D1)
        (edu,) = [edu for edu in await waiting(ada) if edu["content"]["stream_id"] > first]
        # Whether the first one had left or was replaced, the second points to it.
        assert edu["content"]["prev_id"] == [first]


async def test_a_deleted_device_is_told_as_deleted() -> None:
    async with box_with_a_shared_room() as (ada, _, alice):

        def delete(change: Change) -> None:
            devices.delete(change, alice, [D1])
            device_fan_out.note(change, alice, D1)

        await ada.ledger.run(delete)
        (edu,) = await waiting(ada)
        assert edu["content"]["deleted"] is True
        assert "keys" not in edu["content"]


async def test_changed_cross_signing_keys_are_told_without_the_private_one() -> None:
    async with box_with_a_shared_room() as (ada, _, alice):
        await ada.ledger.run(device_fan_out.note, alice, None)
        (edu,) = await waiting(ada)
        assert (edu["edu_type"], edu["content"]) == ("m.signing_key_update", {"user_id": alice})


async def test_a_server_that_is_new_to_a_person_learns_that_there_is_a_list() -> None:
    async with box_with_a_shared_room() as (ada, _, alice):
        await ada.ledger.run(device_fan_out.introduce, alice, [ServerName("new.example"), ada.name])
        (edu,) = await waiting(ada, ServerName("new.example"))
        assert edu["content"]["device_id"] == D1
        assert await waiting(ada, ada.name) == []
