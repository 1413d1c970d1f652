"""Newline-delimited JSON between programs of this machine, on the admin socket and on the cable: bounded, both ways.

Request `{"verb": ...}`; reply `{"ok": true, "result": {...}}` or
`{"ok": false, "code": ..., "fault": ..., "retryable": ..., "message": ...}`.
"""

import json
from typing import Any

from relay.base.errors import Fault, InvalidInputError, NotJsonError, RelayError, TooLargeError
from relay.base.limits import MAX_ADMIN_LINE_BYTES


class Lines:
    """Splits a byte stream into JSON objects; how the bytes are cut never matters."""

    def __init__(self, limit_bytes: int = MAX_ADMIN_LINE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._waiting = bytearray()

    def receive(self, data: bytes) -> list[dict[str, Any]]:
        """Return the objects that `data` completes.

        Raises:
            TooLargeError: a line is longer than the limit.
            NotJsonError: a line is not JSON.
            InvalidInputError: a line is JSON but not an object.
        """
        self._waiting += data
        *complete, rest = bytes(self._waiting).split(b"\n")
        self._waiting[:] = rest
        if any(len(line) > self._limit_bytes for line in (*complete, rest)):
            raise TooLargeError(f"a line is longer than {self._limit_bytes} bytes")
        return [parse_line(line) for line in complete if line.strip()]


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the object in `line`.

    Raises:
        NotJsonError: it is not JSON.
        InvalidInputError: it is not an object.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise NotJsonError("the line is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidInputError("the line is not a JSON object")
    return value


def render_line(value: dict[str, Any]) -> bytes:
    """Return `value` as one line, in ASCII so that a serial line carries it."""
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def good(result: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to a request that was carried out."""
    return {"ok": True, "result": result}


def bad(error: RelayError) -> dict[str, Any]:
    """Return the reply to a request that was refused or failed; `retry_after_s` only where that is known."""
    reply: dict[str, Any] = {
        "ok": False,
        "code": error.code,
        "fault": error.fault.value,
        "retryable": error.retryable,
        "message": str(error),
    }
    if error.retry_after_s is not None:
        reply["retry_after_s"] = round(error.retry_after_s, 1)
    return reply


class AnsweredError(RelayError):
    """The other side's refusal, as it said it."""

    def __init__(self, reply: dict[str, Any]) -> None:
        after_s = reply.get("retry_after_s")
        super().__init__(
            str(reply.get("message", "refused without a reason")),
            retry_after_s=float(after_s) if isinstance(after_s, int | float) else None,
        )
        self.code = str(reply.get("code", "internal"))
        faults = {fault.value: fault for fault in Fault}
        self.fault = faults.get(str(reply.get("fault")), Fault.BUG)
        self.retryable = reply.get("retryable") is True


def result_of(reply: dict[str, Any]) -> dict[str, Any]:
    """Return what a good reply carries.

    Raises:
        AnsweredError: the reply is a refusal, or no reply at all.
    """
    result = reply.get("result")
    if reply.get("ok") is True and isinstance(result, dict):
        return result
    raise AnsweredError(reply)
