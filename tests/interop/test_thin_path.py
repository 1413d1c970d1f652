"""The thinnest path from a real server to the doorstep and back, a restart in between."""

import pytest

from tests.interop.box_process import BoxProcess
from tests.interop.peer_clients import Api, quote
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop


def test_a_message_crosses_each_way_and_survives_a_restart(box: BoxProcess, synapse: SynapsePeer) -> None:
    anna, berta = box.login(), synapse.register("berta-thin", "berta's password")
    room = anna.call("POST", "v3/createRoom", {"invite": [f"@berta-thin:{synapse.name}"], "preset": "private_chat"})[
        "room_id"
    ]
    wait_for_invite(berta, room)
    berta.call("POST", f"v3/join/{quote(room)}?via={quote(box.name)}", {})
    anna.send(room, "from the box", "t1")
    wait_for_body(berta, room, "from the box")
    berta.send(room, "from synapse", "t2")
    wait_for_body(anna, room, "from synapse")
    box.stop()
    box.start()
    anna = Api(box.base, anna.token)
    assert [e["content"]["body"] for e in anna.messages(room) if e["type"] == "m.room.message"] == [
        "from the box",
        "from synapse",
    ]


def test_the_box_joins_a_room_that_lives_on_synapse(box: BoxProcess, synapse: SynapsePeer) -> None:
    anna, berta = box.login(), synapse.register("berta-join", "berta's password")
    room = berta.call("POST", "v3/createRoom", {"invite": [f"@anna:{box.name}"], "preset": "private_chat"})["room_id"]
    wait_for_invite(anna, room)
    anna.call("POST", f"v3/join/{quote(room)}", {})
    anna.send(room, "here I am", "t1")
    wait_for_body(berta, room, "here I am")
    berta.send(room, "welcome", "t2")
    wait_for_body(anna, room, "welcome")
