"""Whoever carries out what a session asks; the command line hands one in."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where the box is found now.

    Attributes:
        online: whether it has a way to the world.
        url: where its apps reach it, empty before it is set up.
    """

    online: bool
    url: str


class Call(Protocol):
    """One request under way."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is news."""
        ...

    def finish(self) -> dict[str, Any] | None:
        """Return the reply, `{"ok": ...}`, or None while there is none yet; never blocks for long."""
        ...

    def cancel(self) -> None:
        """Stop waiting and free everything; the request itself may still be carried out."""
        ...


class Operator(Protocol):
    """Begins requests, and keeps the draft between two power cuts."""

    def begin(self, fields: dict[str, Any]) -> Call:
        """Begin the request `fields`, `{"verb": ..., ...}`."""
        ...

    def provisioned(self) -> bool:
        """Return whether the box has been set up."""
        ...

    def claimed(self) -> bool:
        """Return whether somebody looks after the box, who has to be asked before it is changed."""
        ...

    def place(self) -> Place:
        """Return where the box is found, at once: without a process, a lock or a packet."""
        ...

    def load_draft(self) -> dict[str, str]:
        """Return the draft kept last, empty where there is none."""
        ...

    def load_done(self) -> dict[str, tuple[str, str]]:
        """Return what became of programs' requests, as kept last."""
        ...

    def keep_done(self, done: dict[str, tuple[str, str]]) -> None:
        """Make durable what became of programs' requests; an empty one removes it."""
        ...

    def keep_draft(self, draft: dict[str, str] | None) -> None:
        """Make the draft durable; None removes it."""
        ...
