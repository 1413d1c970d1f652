"""Servers that talk: the box in the guest and a Synapse on the host, while the guest's power is cut."""

import random  # noqa: TID251 - when the power goes is nobody's secret
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.guest.findings import Findings
from tests.guest.guest_box import GuestBox
from tests.guest.machine import HOST
from tests.guest.provisioning import OWNER, PASSWORD
from tests.interop.kill_storm import Talker, wrong_with
from tests.interop.peer_clients import Api, quote
from tests.interop.peer_environments import synapse_python
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body, wait_for_invite

_WITHIN_S = 120
_TALK_S = (8.0, 16.0)
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Conversation:
    """One room, one person on each side."""

    synapse: SynapsePeer
    room: str
    anna: Api
    bob: Api


@contextmanager
def synapse_on_the_host(folder: Path, authority: trustme.CA, box: GuestBox) -> Iterator[SynapsePeer]:
    """Run a Synapse that the guest reaches, and that trusts the authority which the box made for itself."""
    folder.mkdir()
    trusted = folder / "box.pem"
    trusted.write_text(box.authority)
    with SynapsePeer(folder / "synapse", synapse_python(), authority, host=HOST, trusted=[trusted]) as synapse:
        yield synapse


def begin(synapse: SynapsePeer, box: GuestBox, findings: Findings) -> Conversation:
    """Make a room on the Synapse, invite the owner of the box; both say something."""
    anna, bob = box.login(OWNER, PASSWORD), synapse.register("bob", PASSWORD)
    made_of = {"preset": "private_chat", "invite": [f"@{OWNER}:{box.name}"]}
    room = bob.call("POST", "v3/createRoom", made_of, timeout_s=_WITHIN_S)["room_id"]
    wait_for_invite(anna, room, _WITHIN_S)
    begun = time.monotonic()
    anna.call("POST", f"v3/join/{quote(room)}", {}, timeout_s=_WITHIN_S)
    joined_s = time.monotonic() - begun
    begun = time.monotonic()
    bob.send(room, "from afar", "afar")
    wait_for_body(anna, room, "from afar", _WITHIN_S)
    there_s = time.monotonic() - begun
    begun = time.monotonic()
    anna.send(room, "from the guest", "guest")
    wait_for_body(bob, room, "from the guest", _WITHIN_S)
    back_s = time.monotonic() - begun
    findings.see(
        "federation with Synapse over TLS, each verifying the other's private authority",
        f"invite, join in {joined_s:.1f} s, a message there in {there_s:.1f} s and back in {back_s:.1f} s",
    )
    return Conversation(synapse, room, anna, bob)


def cut_the_power(talk: Conversation, box: GuestBox, findings: Findings, cuts: int) -> None:
    """Let both sides talk without pause, take the guest's power away again and again, and look for every message."""
    at_home = Talker(talk.anna, talk.room, "home", 0.3, _AGAIN_S)
    far_away = Talker(talk.bob, talk.room, "away", 0.3, _AGAIN_S)
    promised = 0
    with at_home, far_away:
        for number in range(1, cuts + 1):
            before = len(at_home.acknowledged), len(far_away.acknowledged)
            threading.Event().wait(random.uniform(*_TALK_S))
            box.machine.power_cut()
            theirs = _acknowledged_to(talk, box)
            ours = list(at_home.acknowledged)
            fresh = len(ours) - before[0]
            findings.expect(fresh > 0, "nothing was said at home before the power went")
            promised += _look_alone(talk, box, findings, number, ours, theirs)
    wrong = wrong_with([at_home, far_away])
    findings.expect(not wrong, wrong[:10])
    total = len(at_home.acknowledged) + len(far_away.acknowledged)
    findings.see(
        f"{cuts} power cuts (SIGKILL of QEMU, cache=none) in the middle of traffic",
        f"{promised} promises checked before the Synapse could help: 0 lost;"
        f" {total} messages on both servers in the end: 0 lost, 0 doubled, in order",
    )


def _look_alone(
    talk: Conversation, box: GuestBox, findings: Findings, number: int, ours: list[str], theirs: set[str]
) -> int:
    """Start the guest again and look for every promise while the other server cannot answer; return how many."""
    process = talk.synapse.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        box.machine.start()
        box.wait_until_open()
        open_s = time.monotonic() - begun
        events = talk.anna.messages(talk.room)
    finally:
        process.send_signal(signal.SIGCONT)
    bodies = [event["content"].get("body") for event in events if event["type"] == "m.room.message"]
    lost = [body for body in ours if body not in bodies]
    lost += sorted(theirs - {event["event_id"] for event in events})
    findings.expect(not lost, f"acknowledged and lost: {lost[:10]}")
    findings.expect(len(bodies) == len(set(bodies)), "a message is doubled")
    findings.see(
        f"power cut {number}",
        f"{len(ours)} messages acknowledged to the app and {len(theirs)} events to the Synapse are there;"
        f" answered {open_s:.0f} s after power-on, relay ready {box.start_s():.0f} s after its start",
    )
    return len(ours) + len(theirs)


def _acknowledged_to(talk: Conversation, box: GuestBox) -> set[str]:
    """Return the ids of those events whose arrival the box has confirmed to the Synapse, by its own books."""
    books = sqlite3.connect(f"file:{talk.synapse.folder}/homeserver.db?mode=ro", uri=True, timeout=60)
    try:
        rows = books.execute(
            "SELECT event_id FROM events WHERE room_id = ? AND sender = ? AND type = 'm.room.message' AND"
            " stream_ordering <= (SELECT last_successful_stream_ordering FROM destinations WHERE destination = ?)",
            (talk.room, f"@bob:{talk.synapse.name}", box.name),
        ).fetchall()
    finally:
        books.close()
    return {row[0] for row in rows}
