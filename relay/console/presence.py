"""Somebody stands at the box: its button, held, allows changes for a while, or asks for a reset.

Every console hears the button itself, so that presence reaches all cables; one of them at a time, whoever takes the
lock first, works the light and carries the reset out.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from relay.base.limits import PRESENCE_S
from relay.box.button import ButtonGoneError, Pressed
from relay.box.light import Shown

# The kernel may show the button later than the console starts, and again after it was gone.
_LOOK_AFTER_S = (2.0, 10.0, 60.0)


class Button(Protocol):
    """What `relay.box.button.PushButton` offers."""

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        ...

    def due_s(self) -> float | None:
        """Return in how many seconds to call `read` again although nothing came, None where that is not needed."""
        ...

    def read(self) -> list[Pressed]:
        """Return what the button has said since the last call, in order.

        Raises:
            ButtonGoneError: the device is gone.
        """
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class Light(Protocol):
    """What `relay.box.light.StatusLight` offers."""

    def borrow(self, what: Shown) -> Callable[[], None]:
        """Show `what` for a while; return what puts back what was shown before."""
        ...

    def show(self, what: Shown) -> None:
        """Show `what` from now on."""
        ...


class Found(NamedTuple):
    """A button that can be listened to, the file whose lock says who acts on it, and the light beside it."""

    button: Button
    lock: Path
    light: Light


class Presence:
    """Who stands at the box, as far as its button says.

    Args:
        find: looks for the button; None where there is none now.
        timer: seconds that never go back.
    """

    def __init__(self, find: Callable[[], Found | None], timer: Callable[[], float]) -> None:
        self._find = find
        self._timer = timer
        self._found: Found | None = None
        self._allowed_until = timer()
        self._acting: int | None = None
        self._give_back: Callable[[], None] | None = None
        self._resetting = False
        self._looks = list(_LOOK_AFTER_S)
        self._look_at: float | None = timer()

    @property
    def found(self) -> bool:
        """Return whether there is a button to hold."""
        return self._found is not None

    @property
    def acting(self) -> bool:
        """Return whether this console is the one that acts on the button now."""
        return self._acting is not None

    def left_s(self) -> float:
        """Return for how many seconds more changes are allowed, 0 where they are not."""
        return max(0.0, self._allowed_until - self._timer())

    def fileno(self) -> int | None:
        """Return the descriptor to poll for reading, None where there is no button."""
        return None if self._found is None else self._found.button.fileno()

    def due_s(self) -> float | None:
        """Return in how many seconds to call `listen` again although nothing came, None where that is not needed."""
        waits = [] if self._look_at is None else [max(0.0, self._look_at - self._timer())]
        if self._shows_presence:
            waits.append(self.left_s())
        if self._found is not None and (button_s := self._found.button.due_s()) is not None:
            waits.append(button_s)
        return min(waits, default=None)

    def listen(self) -> list[Pressed]:
        """Return what the button has said since the last call, and act on it by the light."""
        self._look()
        said: list[Pressed] = []
        if self._found is not None:
            try:
                said = self._found.button.read()
            except ButtonGoneError:
                self._found.button.close()
                self._found, self._looks = None, list(_LOOK_AFTER_S)
                self._look_later()
        for what in said:
            self._take(what)
        if self._shows_presence and self.left_s() <= 0:
            self._end()
        return said

    def done(self, *, forgotten: bool) -> None:
        """End the reset: another console may act on the next hold. `forgotten`: there is nothing left to go back to."""
        if forgotten:
            # Whoever carried it out shows what comes now.
            self._give_back = None
        self._end()

    def close(self) -> None:
        """Stop listening, and leave the light as it was."""
        self._end()
        if self._found is not None:
            self._found.button.close()
            self._found = None

    @property
    def _shows_presence(self) -> bool:
        return self._give_back is not None and not self._resetting

    def _look(self) -> None:
        if self._look_at is None or self._timer() < self._look_at:
            return
        self._found = self._find()
        self._look_at = None
        if self._found is None:
            self._look_later()

    def _look_later(self) -> None:
        self._look_at = self._timer() + self._looks.pop(0) if self._looks else None

    def _take(self, what: Pressed) -> None:
        match what:
            case Pressed.ALLOW:
                self._allowed_until = self._timer() + PRESENCE_S
                if self._begin():
                    self._show(Shown.ALLOWING)
            case Pressed.RESET_NEAR:
                self._show(Shown.RESETTING)
            case Pressed.RESET_CANCELLED:
                self._show(Shown.ALLOWING)
            case Pressed.RESET:
                self._allowed_until, self._resetting = self._timer(), self.acting

    def _show(self, what: Shown) -> None:
        if self._found is None or self._acting is None:
            return
        if self._give_back is None:
            self._give_back = self._found.light.borrow(what)
        else:
            self._found.light.show(what)

    def _begin(self) -> bool:
        if self._acting is None and self._found is not None:
            with contextlib.suppress(OSError):
                descriptor = os.open(self._found.lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._acting = descriptor
                except OSError:
                    os.close(descriptor)
        return self._acting is not None

    def _end(self) -> None:
        self._resetting = False
        if self._give_back is not None:
            self._give_back()
            self._give_back = None
        if self._acting is not None:
            os.close(self._acting)
            self._acting = None
