"""The home-box case: everything that was sent while the box was off is there soon after power-on, without a nudge."""

import itertools
import time
from pathlib import Path

import pytest

from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.peer_clients import Api, nio_client, quote
from tests.interop.peer_environments import nio_python
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop

MESSAGES = 200
MOST_WAIT_S = 5
# Synapse's first pause before it sends a failed transaction again takes 5.6 s at the most, the second 12.8 s at least.
SECOND_PAUSE_S = 6


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
    assert waited_s < MOST_WAIT_S


def test_room_keys_that_were_made_while_the_box_was_off_arrive_with_their_messages(
    box: BoxProcess, synapse: SynapsePeer, tmp_path: Path
) -> None:
    berta_id, anna_id = f"@berta-keys:{synapse.name}", f"@anna:{box.name}"
    synapse.register("berta-keys", "berta's password")
    python = nio_python()
    with nio_client(python) as anna, nio_client(python) as berta:
        for client, base, user, password in (
            (anna, box.base, anna_id, PASSWORD),
            (berta, synapse.base, berta_id, "berta's password"),
        ):
            store = tmp_path / user[1:6]
            store.mkdir()
            client.call("login", base=base, user=user, password=password, store=str(store))
        room = anna.call("create_room", encrypted=True, invite=[berta_id])
        berta.call("wait_for_invite", room=room)
        berta.call("join", room=room)
        berta.call("wait_for_member", room=room, user=anna_id)
        anna.call("wait_for_member", room=room, user=berta_id)
        berta.call("send", room=room, content={"msgtype": "m.text", "body": "before"})
        anna.call("wait_for", body="before")
        box.stop()
        # A new key every hundred messages is what the algorithm's defaults ask for: several are made while it is off.
        expected = ["before"]
        away_since = time.monotonic()
        for number in itertools.count():
            if number >= MESSAGES and time.monotonic() - away_since > SECOND_PAUSE_S:
                break
            expected.append(f"sealed {number}")
            berta.call("send", room=room, content={"msgtype": "m.text", "body": expected[-1]})
        # A busy machine made certain: Synapse does nothing before the box's door is open.
        with synapse.suspended():
            box.start()
        begun = time.monotonic()
        # History is read again: this app does not come back to what it saw before its key.
        while anna.call("history", room=room) != expected:
            assert time.monotonic() - begun < MOST_WAIT_S
            anna.call("sync", timeout_ms=500)
