"""What a local operator may ask of a box when a person moves from it, or to it."""

import dataclasses
from typing import Any, Protocol, assert_never


@dataclasses.dataclass(frozen=True, slots=True)
class PackAccount:
    """The next page of what a person takes along; `after` is what the page before said, empty for the first."""

    name: str
    after: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class InviteMoved:
    """Let the account invite `target`, its owner's new one, to one room."""

    name: str
    room: str
    target: str


@dataclasses.dataclass(frozen=True, slots=True)
class MoveIn:
    """Make ready for what comes; the account is made if there is none, which takes a password.

    `secrets` is a JSON object: the id of the packed default key, and the packed backups in hexadecimal.
    """

    name: str
    secrets: str
    password: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class UnpackAccount:
    """Take in one page; `secrets` is what `MoveIn` answered."""

    name: str
    records: str = dataclasses.field(repr=False)
    secrets: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class RejoinRoom:
    """Join one room again; `card` is the JSON object that was packed of it."""

    name: str
    card: str


MovingRequest = PackAccount | InviteMoved | MoveIn | UnpackAccount | RejoinRoom

VERBS: dict[str, type[MovingRequest]] = {
    "account_pack": PackAccount,
    "account_invite": InviteMoved,
    "account_move_in": MoveIn,
    "account_unpack": UnpackAccount,
    "account_rejoin": RejoinRoom,
}


class Moving(Protocol):
    """The house, as far as people move from it and to it."""

    async def pack(self, localpart: str, after: str) -> dict[str, Any]:
        """Return `records` (wrapped) and `after`, empty on the last page.

        Raises:
            NotFoundError: nobody has this name.
        """
        ...

    async def invite(self, localpart: str, room: str, target: str) -> dict[str, Any]:
        """Return `outcome` and `why`."""
        ...

    async def move_in(self, localpart: str, secrets: str, password: str) -> dict[str, Any]:
        """Return `user`, whether the account was `made`, and whether `secrets` may come.

        Raises:
            NotFoundError: there is no such account, and no password to make it with.
        """
        ...

    async def unpack(self, localpart: str, records: str, *, secrets: bool) -> dict[str, Any]:
        """Return how many things of which kind came."""
        ...

    async def rejoin(self, localpart: str, card: str) -> dict[str, Any]:
        """Return `outcome` and `why`."""
        ...


async def carry_out(moving: Moving, request: MovingRequest) -> dict[str, Any]:
    """Return the result of `request`."""
    match request:
        case PackAccount(name, after):
            return await moving.pack(name, after)
        case InviteMoved(name, room, target):
            return await moving.invite(name, room, target)
        case MoveIn(name, secrets, password):
            return await moving.move_in(name, secrets, password)
        case UnpackAccount(name, records, secrets):
            return await moving.unpack(name, records, secrets=secrets)
        case RejoinRoom(name, card):
            return await moving.rejoin(name, card)
        case _:
            assert_never(request)
