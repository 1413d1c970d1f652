"""The home-box case: everything that was sent while the box was off is there soon after power-on, without a nudge."""

import time

import pytest

from tests.interop.box_process import BoxProcess
from tests.interop.peer_clients import Api, quote
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop

MESSAGES = 200


def test_two_hundred_messages_sent_while_the_box_was_off_arrive_in_order_within_five_seconds(
    box: BoxProcess, synapse: SynapsePeer
) -> None:
    anna, berta = box.login(), synapse.register("berta-off", "berta's password")
    room = anna.call("POST", "v3/createRoom", {"invite": [f"@berta-off:{synapse.name}"]})["room_id"]
    wait_for_invite(berta, room)
    berta.call("POST", f"v3/join/{quote(room)}?via={quote(box.name)}", {})
    berta.send(room, "before", "before")
    wait_for_body(anna, room, "before")
    box.stop()
    for number in range(MESSAGES):
        berta.send(room, f"message {number}", f"off-{number}")
    begun = time.monotonic()
    box.start()
    anna = Api(box.base, anna.token)
    wait_for_body(anna, room, f"message {MESSAGES - 1}", within_s=30)
    bodies = [e["content"].get("body", "") for e in anna.messages(room) if e["type"] == "m.room.message"]
    waited_s = time.monotonic() - begun
    assert bodies == ["before", *(f"message {number}" for number in range(MESSAGES))]
    assert waited_s < 5
