"""A family's day, drawn from a seed: who says, reads and shares what, and when. Pure; `player` carries it out.

Four people with two devices each live on the measured server, two relatives with one device each on another. Messages
come one by one all around the clock, at random distances: a family talks in bursts, which share commits, so this is the
dearest day with that many messages.
"""

import enum
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

DAY_S = 86_400.0
DAY_MESSAGES = 2_000
DAY_PICTURES = 20
DAY_SETTINGS = 24
"""What apps keep for themselves in a day: recent emoji, breadcrumbs, tags."""
PICTURE_BYTES = 300_000
SESSION_MESSAGES = 100
"""After so many messages an app makes a new room key (matrix-js-sdk's and matrix-rust-sdk's default)."""

_SOON_S, _LATER_S = (1.0, 12.0), (30.0, 600.0)
_LOOKING = 0.5


@dataclass(frozen=True, slots=True)
class Device:
    """One device of one person; `near` if she lives on the measured server."""

    user: str
    name: str
    near: bool


@dataclass(frozen=True, slots=True)
class Room:
    """One conversation.

    Attributes:
        people: names of members.
        weight: its part of all messages.
    """

    people: tuple[str, ...]
    weight: float


FAMILY, RELATIVES = ("anna", "ben", "cleo", "dora"), ("gran", "theo")
DEVICES = (
    *(Device(user, name, near=True) for user in FAMILY for name in ("PHONE", "DESK")),
    *(Device(user, "PHONE", near=False) for user in RELATIVES),
)
ROOMS = (
    Room(FAMILY, 0.35),
    Room(("anna", "ben"), 0.2),
    Room((*FAMILY, *RELATIVES), 0.25),
    Room(("anna", "gran"), 0.2),
)


class Kind(enum.Enum):
    """What somebody does."""

    TYPE = "type"
    SAY = "say"
    PICTURE = "picture"
    READ = "read"
    SHARE_KEYS = "share keys"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True, order=True)
class Act:
    """One thing somebody does with one device; `room` is a place in `ROOMS`, `number` makes contents differ."""

    at_s: float
    number: int
    kind: Kind
    device: Device
    room: int


def devices_of(user: str) -> list[Device]:
    """Return the devices of one person."""
    return [device for device in DEVICES if device.user == user]


def draw_day(messages: int = DAY_MESSAGES, *, seconds: float = DAY_S, seed: int = 1) -> list[Act]:
    """Return what happens while `messages` messages are sent at the pace of a day of `DAY_MESSAGES`, in order.

    Pictures and settings come in the proportion of a day. `seconds` is a day's length.
    """
    chance = _Chance(seed)
    gap_s = seconds / DAY_MESSAGES
    pictures = _spread(messages, messages * DAY_PICTURES // DAY_MESSAGES)
    settings = _spread(messages, messages * DAY_SETTINGS // DAY_MESSAGES)
    # Every session is somewhere in its life when the day begins.
    said = {
        (device, place): int(chance.between(0, SESSION_MESSAGES))
        for place, room in enumerate(ROOMS)
        for user in room.people
        for device in devices_of(user)
    }
    acts: list[Act] = []
    at_s = 0.0
    for number in range(messages):
        at_s += chance.gap(gap_s)
        room = chance.place([room.weight for room in ROOMS])
        device = chance.one_of(devices_of(chance.one_of(ROOMS[room].people)))
        said[device, room] += 1
        if said[device, room] % SESSION_MESSAGES == 0:
            acts.append(Act(at_s - 0.5, number, Kind.SHARE_KEYS, device, room))
        acts.append(Act(at_s - chance.between(2, 10), number, Kind.TYPE, device, room))
        acts.append(Act(at_s, number, Kind.PICTURE if number in pictures else Kind.SAY, device, room))
        if number in settings:
            acts.append(Act(at_s + 5, number, Kind.SETTINGS, chance.one_of(devices_of(chance.one_of(FAMILY))), room))
        acts += _readers(chance, at_s, number, room, device)
    return sorted(act if act.at_s > 0 else Act(0, act.number, act.kind, act.device, act.room) for act in acts)


class _Chance:
    """Numbers that look random and are the same for the same seed, whatever Python draws them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = 0

    def between(self, low: float, high: float) -> float:
        self._drawn += 1
        digest = hashlib.blake2b(f"{self._seed} {self._drawn}".encode(), digest_size=6).digest()
        return low + (high - low) * int.from_bytes(digest, "big") / 2**48

    def gap(self, mean: float) -> float:
        return -mean * math.log1p(-self.between(0, 1))

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[int(self.between(0, len(choices)))]

    def place(self, weights: Sequence[float]) -> int:
        drawn = self.between(0, sum(weights))
        for place, weight in enumerate(weights):
            drawn -= weight
            if drawn < 0:
                return place
        return len(weights) - 1


def _readers(chance: _Chance, at_s: float, number: int, room: int, sender: Device) -> Sequence[Act]:
    # Half of the others have the room before them, the rest look later and mark whatever is newest by then.
    acts = []
    for user in ROOMS[room].people:
        if user != sender.user:
            wait_s = chance.between(*(_SOON_S if chance.between(0, 1) < _LOOKING else _LATER_S))
            acts.append(Act(at_s + wait_s, number, Kind.READ, chance.one_of(devices_of(user)), room))
    return acts


def _spread(count: int, chosen: int) -> set[int]:
    return {(2 * place + 1) * count // (2 * chosen) for place in range(chosen)} if chosen else set()
