"""What a box promised, and how long the recording of its block device was at that moment."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

Kind = str
MESSAGE, FAR_MESSAGE, TO_DEVICE, MEDIA, SESSION = "message", "message from afar", "to-device", "media", "session"


@dataclasses.dataclass(frozen=True, slots=True)
class Promise:
    """One acknowledgement.

    Attributes:
        at: the size of the recording when the acknowledgement had been seen.
        kind: what was acknowledged.
        name: what it is found by: an event id, a number, an address, a token.
        content: what it has to be.
    """

    at: int
    kind: Kind
    name: str
    content: Any


class Promises:
    """The book; thread-safe. `size` says how long the recording is."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._lock = threading.Lock()
        self.made: list[Promise] = []

    def note(self, kind: Kind, name: str, content: Any) -> None:
        """Write down what was acknowledged just now."""
        at = self._size()
        with self._lock:
            self.made.append(Promise(at, kind, name, content))

    def note_transaction(self, request: dict[str, Any], reply: dict[str, Any]) -> None:
        """Write down what a transaction brought that was answered with 200 (Server-Server API, "Transactions")."""
        refused = [result for result in reply.get("pdus", {}).values() if result.get("error")]
        for pdu in request.get("pdus", []) if not refused else []:
            if pdu["type"] == "m.room.message":
                self.note(FAR_MESSAGE, pdu["content"]["body"], pdu["sender"])
        for edu in request.get("edus", []):
            if edu["edu_type"] == "m.direct_to_device":
                for devices in edu["content"]["messages"].values():
                    for content in devices.values():
                        self.note(TO_DEVICE, content["name"], content)

    def count(self, *kinds: Kind) -> int:
        """Return how many promises of these kinds were made."""
        with self._lock:
            return sum(promise.kind in kinds for promise in self.made)


def broken(promises: list[Promise], seen: dict[str, Any]) -> list[str]:
    """Return what was promised and is not there, or is not the same; `seen` is what `recovered_state` shows."""
    return [
        f"{promise.kind} {promise.name[:60]!r} is {'other' if promise.name in seen[promise.kind] else 'lost'}"
        for promise in promises
        if seen[promise.kind].get(promise.name) != promise.content
    ]
