"""What a session wants done: the closed set between the engine and its surroundings."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Send:
    """Write bytes to the line; they may be dropped when nobody reads."""

    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """Have the operator carry out a request; its reply comes back with the same number."""

    number: int
    fields: dict[str, Any] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Abandon:
    """Nobody waits for the reply of this number any more."""

    number: int


@dataclasses.dataclass(frozen=True, slots=True)
class Keep:
    """Make the draft durable; None removes it."""

    draft: dict[str, str] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """Make durable what became of programs' requests: (verb, state) by an opaque name; an empty one removes it."""

    done: dict[str, tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Leave:
    """The person is done. `applied`: the box was set up in this session."""

    applied: bool


Action = Send | Ask | Abandon | Keep | Note | Leave
