"""Somebody at the console: types bytes, has requests answered by a box in memory, and sees a screen."""

import json
from typing import Any

from relay.console.actions import Abandon, Action, Ask, Keep, Leave, Note, Send
from relay.console.gate import Gate
from relay.console.session import Session
from tests.fakes.console_operator import MemoryBox, reply_of
from tests.fakes.screen import Screen


class MemoryGuard:
    """What the gate asks of a box, and the time it goes by."""

    def __init__(self, box: MemoryBox) -> None:
        self._box = box
        self.now_s = 0.0
        self.allowed_until = 0.0
        self.button = False
        self.clock_set = True

    def claimed(self) -> bool:
        return self._box.claimed()

    def present_s(self) -> float:
        return max(0.0, self.allowed_until - self.now_s)

    def has_button(self) -> bool:
        return self.button

    def clock_is_set(self) -> bool:
        return self.clock_set


class Person:
    def __init__(
        self,
        box: MemoryBox | None = None,
        kept: dict[str, str] | None = None,
        *,
        done: dict[str, tuple[str, str]] | None = None,
        late: bool = False,
        leave_when_applied: bool = False,
    ) -> None:
        self.box = box or MemoryBox()
        self.guard = MemoryGuard(self.box)
        self.session = Session(
            self.box.provisioned,
            self.box.place,
            kept,
            gate=Gate(self.guard, lambda: self.guard.now_s),
            done=done,
            leave_when_applied=leave_when_applied,
        )
        self.screen = Screen()
        self.seen = b""
        self.kept = kept
        self.done = done or {}
        self.left: list[Leave] = []
        self.abandoned: list[int] = []
        self.open: list[Ask] = []
        self._late = late

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(data):
                    self.seen += data
                    # What is meant for a browser is no text: nobody looks at a screen then.
                    if b"IMPROV\x01" not in data:
                        self.screen.write(data)
                case Ask():
                    self.open.append(action)
                case Keep(draft):
                    self.kept = draft
                case Note(done):
                    self.done = done
                case Leave():
                    self.left.append(action)
                case Abandon(number):
                    self.abandoned.append(number)
        if not self._late:
            self.answer()

    def answer(self) -> None:
        while self.open:
            ask = self.open.pop(0)
            self.act(self.session.answered(ask.number, reply_of(self.box, ask.fields)))

    def send(self, data: bytes) -> str:
        """Send bytes; return what came back for them."""
        before = len(self.seen)
        self.act(self.session.receive(data))
        return self.seen[before:].decode()

    def type(self, *lines: str) -> str:
        """Type lines, each with CR; return what came back for the last."""
        answer = ""
        for line in lines:
            answer = self.send(line.encode() + b"\r")
        return answer

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Send a JSON line as a program does; return the reply."""
        return self.replies(self.send(b"\n" + json.dumps(fields).encode() + b"\n"))[-1]

    def ask_later(self, **fields: Any) -> dict[str, Any]:
        """Ask a box that answers late."""
        before = len(self.seen)
        self.send(b"\n" + json.dumps(fields).encode() + b"\n")
        self.answer()
        return self.replies(self.seen[before:].decode())[-1]

    @staticmethod
    def replies(text: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
