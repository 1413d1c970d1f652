from typing import Any

import trio

from relay.base.ids import DeviceId, ServerName, UserId
from relay.delivery import to_device
from relay.delivery.outbox import queue as outbox_queue
from tests.fakes.federated import FederatedTown

D1 = DeviceId("D1")


async def test_messages_go_to_inboxes_here_and_one_unit_for_each_server_elsewhere() -> None:
    async with trio.open_nursery() as nursery, FederatedTown(nursery).box("ada.example") as ada:
        alice, adam = await ada.add_user("alice"), await ada.add_user("adam")
        ole, opa, cia = UserId("@ole:oma.example"), UserId("@opa:oma.example"), UserId("@cia:cia.example")
        messages: dict[UserId, dict[DeviceId, dict[str, Any]]] = {
            adam: {D1: {"for": "adam"}},
            ole: {D1: {"for": "ole"}},
            opa: {DeviceId("*"): {"for": "opa"}},
            cia: {D1: {"for": "cia"}},
        }
        await ada.ledger.run(to_device.route, alice, "m.x", messages, message_id="one")
        assert [message["content"] for message in await ada.inbox_of(adam)] == [{"for": "adam"}]
        oma = await ada.ledger.read(outbox_queue.next_batch, ServerName("oma.example"), 0)
        assert [edu["content"] for edu in oma.edus] == [
            {
                "sender": alice,
                "type": "m.x",
                "message_id": "one",
                "messages": {ole: {"D1": {"for": "ole"}}, opa: {"*": {"for": "opa"}}},
            }
        ]
        other = await ada.ledger.read(outbox_queue.next_batch, ServerName("cia.example"), 0)
        assert len(other.edus) == 1
        nursery.cancel_scope.cancel()
