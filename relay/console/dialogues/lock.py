"""Being let in: the owner's password, asked for when it is first needed."""

from collections.abc import Generator
from typing import Any

from relay.console.dialogues.asking import Scripts, asked
from relay.console.gate import Gate
from relay.console.script import Attended, Question, Say, Script, Step


def waited_for(gate: Gate) -> Generator[Step, Any, None]:
    """Let a reset pass the gate after a wait that whoever is at the cable has to sit through.

    Raises:
        RelayError: the wait was not carried out.
    """
    yield from asked({"verb": "reset_wait"})
    yield Attended()
    gate.allow_reset()


class Lock:
    """Locking and unlocking, by command or on the way to another one."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def scripts(self) -> Scripts:
        """Return what begins each command."""
        return {"unlock": self._unlock, "lock": self._lock}

    def passed(self) -> Generator[Step, Any, bool]:
        """Ask for the owner's password; return whether changes are allowed now.

        Raises:
            RelayError: it is not the password, or too many were wrong.
        """
        yield Say(["This box is locked: changes need its owner."])
        button = "hold the button 3 s and press Enter" if self._gate.has_button else "Enter leaves"
        secret = yield Question(f"The owner's password ({button}): ", secret=True)
        if not self._gate.locked:
            return True
        if not secret:
            yield Say(["Nothing done."])
            return False
        yield from self.prove(secret)
        return True

    def prove(self, secret: str) -> Generator[Step, Any, None]:
        """Open the gate if `secret` is the owner's password.

        Raises:
            RelayError: it is not, or too many were wrong.
        """
        yield from asked({"verb": "owner_check", "secret": secret})
        self._gate.unlock()

    def _unlock(self) -> Script:
        if not self._gate.locked or (yield from self.passed()):
            yield Say(["Changes are allowed until you leave, unplug or say lock."])
        return None

    def _lock(self) -> Script:
        self._gate.lock()
        yield Say(["Locked." if self._gate.locked else "This box has no owner yet, or its button was held just now."])
        return None
