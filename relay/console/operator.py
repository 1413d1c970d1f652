"""Whoever carries out what a session asks; the command line hands one in."""

from typing import Any, Protocol

from relay.base.errors import Fault, RelayError


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

    def load_draft(self) -> dict[str, str]:
        """Return the draft kept last, empty where there is none."""
        ...

    def keep_draft(self, draft: dict[str, str] | None) -> None:
        """Make the draft durable; None removes it."""
        ...


class RefusedError(RelayError):
    """The operator's refusal, as it said it."""

    def __init__(self, reply: dict[str, Any]) -> None:
        super().__init__(str(reply.get("message", "no reason was given")))
        self.code = str(reply.get("code", "internal"))
        faults = {fault.value: fault for fault in Fault}
        self.fault = faults.get(str(reply.get("fault")), Fault.BUG)
        self.retryable = reply.get("retryable") is True


def result_of(reply: dict[str, Any]) -> dict[str, Any]:
    """Return what a good reply carries.

    Raises:
        RefusedError: it is not a good one.
    """
    result = reply.get("result")
    if reply.get("ok") is True and isinstance(result, dict):
        return result
    raise RefusedError(reply)
