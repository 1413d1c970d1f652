"""The lock of the cable's console: reading is free, changing takes the owner.

Whoever holds the cable of a box that has an owner may look at it. What is not listed here as free is a change, also
what is added later: it takes the owner's password or the button, held. Persons, programs and browsers pass the same
gate, and no request of a change gets past it to the operator, whoever made it.

The password opens the gate for one session: until the cable is unplugged, `lock`, `exit` or ten idle minutes. The
button opens it for two minutes, whoever is at the cable.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from relay.base.errors import Fault, RelayError
from relay.base.limits import UNLOCKED_IDLE_S

FREE_COMMANDS = frozenset(
    {
        *("status", "doctor", "show", "plan", "network", "wifi scan", "diagnostics"),
        *("help", "terminal", "exit", "setup", "unlock", "lock", "passphrase"),
    }
)
"""What a person may type on a locked box."""

FREE_VERBS = frozenset(
    {
        *("hello", "status", "doctor", "show", "plan", "about", "network", "wifi_scan", "diagnostics"),
        *("passphrase", "schema", "happened", "transcript", "unlock", "lock", "owner_check", "reset_wait"),
    }
)
"""What may be asked of a locked box, by programs and of the operator."""

_RESET = "factory_reset"


class LockedError(RelayError):
    """The box has an owner, who has to allow this change first."""

    code = "console.locked"
    fault = Fault.USER
    retryable = True


class Guard(Protocol):
    """What the gate has to know of the box."""

    def claimed(self) -> bool:
        """Return whether the box is set up and somebody looks after it."""
        ...

    def present_s(self) -> float:
        """Return for how many seconds more the button allows changes, 0 where it does not."""
        ...

    def has_button(self) -> bool:
        """Return whether there is a button to hold."""
        ...

    def clock_is_set(self) -> bool:
        """Return whether the time of day can be right."""
        ...


class Gate:
    """One line's gate.

    Args:
        guard: what is known of the box, asked afresh each time.
        timer: seconds that never go back.
    """

    def __init__(self, guard: Guard, timer: Callable[[], float]) -> None:
        self._guard = guard
        self._timer = timer
        self._open = False
        self._heard_at = timer()
        self._reset_is_due = False

    @property
    def locked(self) -> bool:
        """Return whether changes are refused now."""
        return not self._open and self._guard.present_s() <= 0 and self._guard.claimed()

    @property
    def has_button(self) -> bool:
        """Return whether there is a button to hold."""
        return self._guard.has_button()

    @property
    def clock_is_set(self) -> bool:
        """Return whether the time of day can be right."""
        return self._guard.clock_is_set()

    def unlock(self) -> None:
        """Allow changes until the session ends: the owner is there."""
        self._open = True
        self._heard_at = self._timer()

    def lock(self) -> None:
        """End what `unlock` began."""
        self._open = self._reset_is_due = False

    def heard(self) -> bool:
        """Note that somebody is there; return whether the gate had fallen shut because nobody was for too long."""
        now_s = self._timer()
        fell_shut = self._open and now_s - self._heard_at > UNLOCKED_IDLE_S
        self._heard_at = now_s
        if fell_shut:
            self.lock()
        return fell_shut

    def stops(self, command: str) -> bool:
        """Return whether a person has to be let in before `command`."""
        if command == "time set" and not self._guard.clock_is_set():
            return False
        if command == "factory-reset" and not self._guard.has_button():
            # Who forgot the password of a box without a button waits instead; see `allow_reset`.
            return False
        return command not in FREE_COMMANDS and self.locked

    def require(self, verb: str) -> None:
        """Let `verb` pass, or refuse it.

        Raises:
            LockedError: it is a change, and the box is locked.
        """
        if verb in FREE_VERBS or (verb == "time_set" and not self._guard.clock_is_set()) or not self.locked:
            return
        if verb == _RESET and self._reset_is_due:
            return
        button = " or hold its button for 3 s" if self._guard.has_button() else ""
        raise LockedError(f"the box is locked: unlock it with the owner's password{button}")

    def admit(self, fields: Mapping[str, Any]) -> None:
        """Let a request to the operator pass, or refuse it; see `require`. A reset that was waited for passes once."""
        verb = str(fields.get("verb"))
        self.require(verb)
        if verb == _RESET:
            self._reset_is_due = False

    def must_wait(self) -> bool:
        """Return whether a reset has to be waited for: the owner is not there, and there is no button to hold."""
        return self.locked and not self._guard.has_button()

    def allow_reset(self) -> None:
        """Let one reset pass: it was waited for, and the cable stayed."""
        self._reset_is_due = True
