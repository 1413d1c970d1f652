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
from typing import Any

import trustme

from tests.guest.findings import Findings
from tests.guest.guest_box import GuestBox
from tests.guest.machine import HOST
from tests.guest.provisioning import OWNER, PASSWORD
from tests.interop.kill_storm import Talker, wrong_with
from tests.interop.peer_clients import Api, ApiError, quote
from tests.interop.peer_environments import synapse_python
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import wait_for_body, wait_for_invite

_WITHIN_S = 120
_TALK_S = (8.0, 16.0)
_AGAIN_S = 1.0
# `careless_relay` runs the relay with syncs that do nothing; it has been carried to the guest.
_CARELESSLY = """\
cp /stick/careless_relay.py /usr/lib/doorstep/
mkdir -p /etc/systemd/system/relay.service.d
cat >/etc/systemd/system/relay.service.d/90-careless.conf <<'END'
[Service]
Environment=PYTHONPATH=/usr/lib/doorstep/current:/usr/lib/doorstep/current/lib
ExecStart=
ExecStart=/usr/bin/python3 /usr/lib/doorstep/careless_relay.py up --headless --state /var/lib/doorstep
END
sync
systemctl daemon-reload
systemctl restart relay.service
"""


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
    begun = time.monotonic()
    with _unanswering(talk.synapse):
        events = _what_is_there(talk, box)
    open_s = time.monotonic() - begun
    bodies = [event["content"].get("body") for event in events]
    lost = _missing(ours, theirs, events)
    findings.expect(not lost, f"acknowledged and lost: {lost[:10]}")
    findings.expect(len(bodies) == len(set(bodies)), "a message is doubled")
    findings.see(
        f"power cut {number}",
        f"{len(ours)} messages acknowledged to the app and {len(theirs)} events to the Synapse are there;"
        f" answered {open_s:.0f} s after power-on, relay ready {box.start_s():.0f} s after its start",
    )
    return len(ours) + len(theirs)


def cut_without_syncs(talk: Conversation, box: GuestBox, findings: Findings) -> None:
    """Cut the power of a box whose syncs do nothing: if nothing is lost, losses cannot be seen here."""
    box.machine.run(_CARELESSLY, within_s=_WITHIN_S)
    box.wait_until_open()
    at_home = Talker(talk.anna, talk.room, "careless", 0.3, _AGAIN_S)
    far_away = Talker(talk.bob, talk.room, "far", 0.3, _AGAIN_S)
    with at_home, far_away:
        threading.Event().wait(_TALK_S[0])
        box.machine.power_cut()
    ours, theirs = list(at_home.acknowledged), _acknowledged_to(talk, box)
    with _unanswering(talk.synapse):
        try:
            lost = _missing(ours, theirs, _what_is_there(talk, box, _WITHIN_S))
            said = f"{len(lost)} of {len(ours) + len(theirs)} promises lost"
        except (TimeoutError, OSError, ApiError):
            said = f"nothing of {len(ours) + len(theirs)} promises can be read"
    findings.expect(not said.startswith("0 "), "a box that syncs nothing lost nothing: this check is blind")
    findings.see("negative control: the same with fsync and fdatasync doing nothing", said)


@contextmanager
def _unanswering(synapse: SynapsePeer) -> Iterator[None]:
    """Let nothing that is lost be fetched again."""
    process = synapse.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _what_is_there(talk: Conversation, box: GuestBox, within_s: float = 240) -> list[dict[str, Any]]:
    box.machine.start()
    box.wait_until_open(within_s)
    return [event for event in talk.anna.messages(talk.room) if event["type"] == "m.room.message"]


def _missing(ours: list[str], theirs: set[str], events: list[dict[str, Any]]) -> list[str]:
    bodies = {event["content"].get("body") for event in events}
    lost = [body for body in ours if body not in bodies]
    return lost + sorted(theirs - {event["event_id"] for event in events})


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
