"""The status light: six states that a person can tell apart across a room. The kernel does the blinking.

Source: Documentation/leds/leds-class.rst and ledtrig-pattern of the kernel. What the kernel showed by the light before
is put back.

The kernel makes the attributes of a trigger when the trigger is chosen, anew and for root alone; the package's udev
rule hands them over a moment later (the event `change` with TRIGGER=, led_trigger_set in drivers/leds/led-triggers.c).
"""

import contextlib
import enum
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from relay.box.attributes import number

FOLDER = Path("/sys/class/leds")
_FULL = 255
# How long udev may take to hand over what came with a trigger; the caller waits for so long at most.
_HANDED_OVER_WITHIN_S = 1.0
_LOOK_AGAIN_S = 0.01
_NONE = "none"
_RHYTHMS = ("timer", "pattern")


class Shown(enum.Enum):
    """What the light says, with its rhythm: (on, off) milliseconds again and again, None for steady."""

    STARTING = ((150, 150),)
    HEALTHY = None
    WAITING = ((1000, 1000),)
    ATTENTION = ((120, 180), (120, 1600))
    RESETTING = ((50, 50),)
    ALLOWING = ((900, 100),)


class StatusLight:
    """One light of the board, or none: a board without one says nothing, and that is no fault."""

    def __init__(self, candidates: Sequence[str], folder: Path = FOLDER) -> None:
        """Take the first of `candidates` that the kernel shows."""
        self._led = next((folder / name for name in candidates if (folder / name / "trigger").exists()), None)
        before = self._chosen_trigger()
        # A rhythm is one of ours: of a console before set-up, or of a box that lost its power.
        self._before = _NONE if before in _RHYTHMS else before
        self._shown: Shown | None = None
        self._ours: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Return what the kernel calls the light, empty where there is none."""
        return "" if self._led is None else self._led.name

    def shows(self, what: Shown) -> bool:
        """Return whether that is what was shown last; a board without a light shows whatever it should."""
        return self._led is None or what is self._shown

    def show(self, what: Shown) -> None:
        """Show `what` from now on, which may take a second.

        A light that may not be written to stays as it is, and the next call tries again.
        """
        if what is self._shown:
            return
        rhythm = what.value
        if rhythm is None:
            facts = {"trigger": _NONE, "brightness": str(self._full())}
        elif len(rhythm) > 1 and {"pattern", "[pattern]"} & set(self._triggers()):
            facts = {"trigger": "pattern", "pattern": _pattern(rhythm, self._full())}
        else:
            # Without the pattern trigger a double flash becomes a short one, which no other state is.
            on_ms, off_ms = rhythm[-1]
            facts = {"trigger": "timer", "delay_on": str(on_ms), "delay_off": str(off_ms)}
        with contextlib.suppress(OSError):
            self._bring_about(facts)
            self._shown = what
        self._ours = self._facts()

    def release(self) -> None:
        """Let the light do what the kernel did with it before; where that was nothing it is dark."""
        self._shown = None
        with contextlib.suppress(OSError):
            self._write("trigger", self._before)
            if self._before == _NONE:
                # A light that burns under no trigger goes on burning when none is chosen (led_trigger_set).
                self._write("brightness", "0")

    def borrow(self, what: Shown) -> Callable[[], None]:
        """Show `what` for a while, or more by `show`; return what puts back what was shown before.

        That leaves a light alone to which somebody else has written meanwhile.
        """
        before = self._facts()
        self._shown = None
        self.show(what)

        def give_back() -> None:
            self._shown = None
            if self._facts() == self._ours:
                with contextlib.suppress(OSError):
                    self._bring_about(before)

        return give_back

    def _bring_about(self, facts: dict[str, str]) -> None:
        # A trigger that is chosen again begins anew, with attributes that are root's again.
        if facts.get("trigger") != self._chosen_trigger():
            self._write("trigger", facts.get("trigger", _NONE))
        for name, text in facts.items():
            if name != "trigger":
                self._write_soon(name, text)

    def _full(self) -> int:
        # A pattern with more than this is refused; of a GPIO's light it is 1.
        return (number(self._led / "max_brightness") if self._led is not None else None) or _FULL

    def _write_soon(self, name: str, text: str) -> None:
        deadline = time.monotonic() + _HANDED_OVER_WITHIN_S
        while True:
            try:
                return self._write(name, text)
            except (FileNotFoundError, PermissionError):
                if time.monotonic() >= deadline:
                    raise
            threading.Event().wait(_LOOK_AGAIN_S)

    def _facts(self) -> dict[str, str]:
        """Return the attributes that make up what is shown, in the order in which to write them."""
        if self._led is None:
            return {}
        trigger = self._chosen_trigger()
        facts = {"trigger": trigger}
        # Brightness written under another trigger ends that: of a light that blinks it says nothing.
        for name in {_NONE: ("brightness",), "timer": ("delay_on", "delay_off"), "pattern": ("pattern",)}.get(
            trigger, ()
        ):
            with contextlib.suppress(OSError):
                facts[name] = (self._led / name).read_text("ascii").strip()
        return facts

    def _triggers(self) -> list[str]:
        if self._led is None:
            return []
        with contextlib.suppress(OSError):
            return (self._led / "trigger").read_text("ascii").split()
        return []

    def _chosen_trigger(self) -> str:
        # The kernel puts the chosen one in brackets.
        return next((word.strip("[]") for word in self._triggers() if word.startswith("[")), _NONE)

    def _write(self, name: str, text: str) -> None:
        if self._led is not None:
            # Attributes exist or do not; a file must never be made.
            with (self._led / name).open("r+", encoding="ascii") as attribute:
                attribute.write(text)


def _pattern(rhythm: Sequence[tuple[int, int]], full: int) -> str:
    # Pairs of brightness and milliseconds; a step of 0 ms between two of them makes the change sudden.
    steps: list[str] = []
    for on_ms, off_ms in rhythm:
        steps += [f"{full} {on_ms} {full} 0", f"0 {off_ms} 0 0"]
    return " ".join(steps)
