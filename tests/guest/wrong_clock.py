"""A board whose clock lost the time: it starts in a year before the release, and nothing expires."""

import datetime
import threading

from tests.guest.cable import Cable
from tests.guest.federation import Conversation
from tests.guest.findings import Findings
from tests.guest.guest_box import STATE, GuestBox
from tests.interop.waiting import wait_for_body

LOST = "2020-03-01T12:00:00"
_SLOWLY_S = 240
_PATIENCE_S = 10


def set_right(talk: Conversation, box: GuestBox, findings: Findings) -> None:
    """Say something, see that it stays at home, set the clock as the console asks, see that it arrives."""
    begun_in = box.machine.run("date -u +%Y-%m-%d")
    told = box.machine.run(f"relay doctor --state {STATE}", check=False)
    findings.expect("the clock was never set" in told, told)
    said = f"said on {begun_in}"
    talk.anna.send(talk.room, said, "clock")
    threading.Event().wait(_PATIENCE_S)  # nothing may come, and that takes a while to see
    there = [event["content"].get("body") for event in talk.bob.messages(talk.room)]
    findings.expect(said not in there, "it left the house with a clock that was never set")
    with Cable(box.machine.line) as cable:
        greeting = cable.wake(_SLOWLY_S)
        findings.expect("clock was never set: time set" in greeting, greeting)
        now = datetime.datetime.now(datetime.UTC)
        done = cable.say(f"time set {now:%Y-%m-%dT%H:%M:%SZ}", "relay> ", within_s=_SLOWLY_S)
        findings.expect("+00:00" in done, done)
    wait_for_body(talk.bob, talk.room, said, _SLOWLY_S)
    findings.see(
        f"the board's clock says {LOST[:10]}, the system's {begun_in}",
        "the console asks for the time and takes it from the locked cable; what was said before waits and arrives",
    )
