"""Hands and eyes on the box: its button is held on one pin, its light seen on another, through the shipped units."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator

from relay.box.button import ALLOW_AFTER_S, RESET_AFTER_S, RESET_NEAR_AFTER_S
from tests.guest.cable import Cable
from tests.guest.findings import Findings
from tests.guest.guest_box import STATE, GuestBox
from tests.guest.wires import Wires

# The guest's kernel hears of the pin a moment after it moved.
_LATE_S = 0.7
_WITHIN_S = 60
_SLOWLY_S = 240


def is_steady(seen: list[bool]) -> bool:
    """Return whether the light was on all the time."""
    return all(seen)


def is_slow(seen: list[bool]) -> bool:
    """Return whether it was a second on and a second off, as far as an emulator keeps time."""
    return 0.25 < share(seen) < 0.75 and _changes(seen) <= 8


def winks(seen: list[bool]) -> bool:
    """Return whether it was on with short winks."""
    return 0.75 < share(seen) < 1


def flickers(seen: list[bool]) -> bool:
    """Return whether it went on and off many times a second."""
    return _changes(seen) > 15


def share(seen: list[bool]) -> float:
    """Return how much of the time it was on."""
    return sum(seen) / len(seen)


def _changes(seen: list[bool]) -> int:
    return sum(before != after for before, after in itertools.pairwise(seen))


def see_light(wires: Wires, looks: Callable[[list[bool]], bool], findings: Findings) -> None:
    """Look at the light until it shows what it has to."""
    until = time.monotonic() + _WITHIN_S
    while not looks(seen := wires.watch_light(4)):
        findings.expect(
            time.monotonic() < until,
            f"the light never {looks.__name__}: {''.join(str(int(on)) for on in seen)}",
        )


@contextlib.contextmanager
def held(wires: Wires, seconds: float) -> Iterator[None]:
    """Hold the button; the body begins after so many seconds, and its end lets go."""
    wires.press()
    try:
        threading.Event().wait(seconds + _LATE_S)
        yield
    finally:
        wires.release()


def use_the_button(cable: Cable, box: GuestBox, findings: Findings) -> None:
    """Hold the button of a locked box: for long enough to change something, for too long, and until it forgets."""
    wires = box.machine.wires
    see_light(wires, is_steady, findings)
    reply = cable.ask(seq=70, verb="user_list", within_s=_SLOWLY_S)
    findings.expect(reply.get("code") == "console.locked", reply)
    with held(wires, ALLOW_AFTER_S):
        findings.expect(winks(wires.watch_light(1.2)), "the light does not say that changes are allowed")
    reply = cable.ask(seq=71, verb="user_list", within_s=_SLOWLY_S)
    findings.expect(reply["ok"], reply)
    with held(wires, RESET_NEAR_AFTER_S):
        findings.expect(flickers(wires.watch_light(1.5)), "the light does not warn of the reset")
    see_light(wires, winks, findings)
    cable.ask(seq=72, verb="lock", within_s=_SLOWLY_S)
    findings.see(
        "button on a pin of the emulated chip, light on another, under the shipped units",
        "3 s allow changes, more than 5 s warn, letting go cancels; steady, winking and flickering seen on the pin",
    )
    begun = time.monotonic()
    with held(wires, RESET_AFTER_S):
        pass
    while left := box.machine.run(f"find {STATE} -mindepth 1").split():
        findings.expect(time.monotonic() - begun < _SLOWLY_S, f"the button left {left}")
    greeting = cable.wake(_SLOWLY_S)
    findings.expect("not set up yet" in greeting, greeting)
    see_light(wires, is_slow, findings)
    findings.see(
        "button held for 10 s", f"everything forgotten {time.monotonic() - begun:.0f} s later, the light waits again"
    )
