"""What each command does, as a script, by topic. Nothing here knows of bytes, keys or processes."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

from relay.console.dialogues.asking import Surroundings
from relay.console.dialogues.care import Care
from relay.console.dialogues.household import Household
from relay.console.dialogues.lock import Lock
from relay.console.dialogues.network import Network
from relay.console.dialogues.settings import Settings
from relay.console.draft import Draft
from relay.console.gate import Gate
from relay.console.script import Script, Step
from relay.console.transcript import Transcript


class Dialogues:
    """The commands of one session, sharing its draft and its way of drawing."""

    def __init__(
        self,
        draft: Draft,
        provisioned: Callable[[], bool],
        gate: Gate,
        transcript: Transcript,
        *,
        leave_when_applied: bool,
    ) -> None:
        self._provisioned = provisioned
        self._gate = gate
        house = Surroundings(draft, provisioned, gate, transcript, leave_when_applied)
        self._settings = Settings(house)
        self._lock = Lock(gate)
        self._scripts = {
            **self._settings.scripts(),
            **Household(house).scripts(),
            **Network().scripts(),
            **Care(house, self._settings).scripts(),
            **self._lock.scripts(),
        }

    def begin(self, name: str, arguments: list[str]) -> Script:
        """Return the script of the command called `name`; on a locked box it asks for the owner first."""
        if self._gate.stops(name) and not (yield from self._lock.passed()):
            return None
        return (yield from self._scripts[name](*arguments))

    def prove(self, secret: str) -> Generator[Step, Any, None]:
        """Open the gate if `secret` is the owner's password; see `Lock.prove`."""
        return self._lock.prove(secret)

    def greeting(self) -> list[str]:
        """Return what the first CR is answered with."""
        lines = ["Doorstep. This box is not set up yet.", "setup asks for everything; help lists what there is."]
        if self._provisioned():
            lines = ["Doorstep. status shows how it is; help lists what there is."]
        if self._gate.locked:
            button = ", or its button held for 3 s" if self._gate.has_button else ""
            lines.append(f"Changes take the owner's password (unlock){button}.")
        if not self._gate.clock_is_set:
            lines.append("Its clock was never set: time set YYYY-MM-DDTHH:MM:SSZ, the time in UTC.")
        return lines

    def applied(
        self, *, provisioned: bool, confirm_s: object = None, phrases: Mapping[str, str] | None = None
    ) -> Generator[Step, Any, dict[str, Any]]:
        """Apply the draft and forget it; return the operator's result."""
        return self._settings.applied(provisioned=provisioned, confirm_s=confirm_s, phrases=phrases)
