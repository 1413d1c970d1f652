"""A room that has lived long on Synapse: 200 members and 1,000 events, joined from the box."""

import time

import pytest

from tests.interop.box_process import BoxProcess
from tests.interop.peer_clients import quote
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body

pytestmark = pytest.mark.interop

MEMBERS = 200
EVENTS = 1_000


def test_a_room_with_200_members_and_1000_events_is_joined(box: BoxProcess, synapse: SynapsePeer) -> None:
    owner = synapse.register("large-owner", "password of the owner")
    room = owner.call("POST", "v3/createRoom", {"preset": "public_chat", "name": "large"})["room_id"]
    members = [synapse.register(f"large-{number}", "password of a member") for number in range(1, MEMBERS)]
    for member in members:
        member.call("POST", f"v3/join/{quote(room)}", {})
    for number in range(EVENTS - MEMBERS):
        members[number % len(members)].send(room, f"message {number}", f"large-{number}")
    anna = box.login()
    begun = time.monotonic()
    anna.call("POST", f"v3/join/{quote(room)}?via={quote(synapse.name)}", {})
    assert time.monotonic() - begun < 20
    joined = anna.call("GET", f"v3/rooms/{quote(room)}/joined_members")["joined"]
    assert len(joined) == MEMBERS + 1
    owner.send(room, "welcome to the large room", "welcome")
    wait_for_body(anna, room, "welcome to the large room")
    bodies = [event["content"].get("body") for event in anna.messages(room) if event["type"] == "m.room.message"]
    assert bodies[-1] == "welcome to the large room"
    assert bodies[:-1] == [f"message {number}" for number in range(EVENTS - MEMBERS)]
    anna.send(room, "hello all", "hello")
    wait_for_body(owner, room, "hello all")
