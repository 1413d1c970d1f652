"""The steps of a dialogue: a script is a generator that yields them and is sent what came of each."""

import dataclasses
from collections.abc import Generator, Sequence
from typing import Any

from relay.console.actions import Keep, Leave, Note


@dataclasses.dataclass(frozen=True, slots=True)
class Say:
    """Show lines; `private` ones are for whoever asked alone and are not kept anywhere."""

    lines: Sequence[str]
    private: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """Ask for a line, which is sent back; a secret one is not shown, one that names somebody (`private`) not kept."""

    prompt: str
    secret: bool = False
    private: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Have the operator do something; its reply is sent back."""

    fields: dict[str, Any] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """Send bytes as they are, for a program that speaks a protocol of its own."""

    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Attended:
    """Go on only if the person is still there: the cable stayed."""


Step = Say | Question | Request | Packet | Attended | Keep | Note | Leave
# Sent back are a text (Question), a reply (Request) or None; returned is the result for a program, None for a person.
Script = Generator[Step, Any, dict[str, Any] | None]
