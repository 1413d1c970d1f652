"""What all dialogues of one session share, and the two ways in which they ask: the operator, and the person."""

import dataclasses
from collections.abc import Callable, Generator, Mapping
from typing import Any

from relay.base.limits import MIN_PASSWORD_CHARACTERS
from relay.base.lines import result_of
from relay.console.draft import Draft
from relay.console.gate import Gate
from relay.console.script import Question, Request, Say, Script, Step
from relay.console.transcript import Transcript

# Each takes the arguments that its command was given.
Scripts = Mapping[str, Callable[..., Script]]


@dataclasses.dataclass(slots=True)
class Surroundings:
    """One session's plan, and how it draws.

    Attributes:
        draft: what is planned.
        provisioned: whether the box has been set up, asked afresh each time.
        gate: what changes have to pass.
        transcript: what was typed and answered so far.
        leave_when_applied: whether setting the box up ends the session.
        ascii: whether the terminal shows nothing but ASCII.
    """

    draft: Draft
    provisioned: Callable[[], bool]
    gate: Gate
    transcript: Transcript
    leave_when_applied: bool
    ascii: bool = False

    def drawn(self, result: dict[str, Any]) -> list[str]:
        """Return the QR code of a result in rows, none where it has none; the address stands below it in any case."""
        rows: list[str] = result.get("qr_ascii" if self.ascii else "qr", [])
        return rows or ["(the address is too long for a code on this terminal)"] if "url" in result else rows


def asked(fields: dict[str, Any]) -> Generator[Step, Any, dict[str, Any]]:
    """Have the operator carry out `fields`; return the result.

    Raises:
        RelayError: as the operator's.
    """
    reply = yield Request(fields)
    return result_of(reply)


def new_password() -> Generator[Step, Any, str]:
    """Ask for a new password, twice."""
    while True:
        first = yield Question("Password: ", secret=True)
        if len(first) < MIN_PASSWORD_CHARACTERS:
            yield Say([f"A password needs at least {MIN_PASSWORD_CHARACTERS} characters."])
            continue
        again = yield Question("The same again: ", secret=True)
        if first == again:
            return str(first)
        yield Say(["These were not the same."])
