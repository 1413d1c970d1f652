"""Settings on trial: they go back by themselves unless somebody says in time that they are right.

Beside `relay.toml` lie `relay.toml.before`, what stood there before the last change, `network.before`, what the network
went back to then if that change was one of the network, and for as long as a change is on trial `relay.toml.trial`, one
JSON object: until when, in seconds since the machine started, and of which start those are. A machine that started anew
has not heard that the change is right.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

FILE_NAME = "relay.toml.trial"
BEFORE = "relay.toml.before"
NETWORK_BEFORE = "network.before"

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclasses.dataclass(frozen=True, slots=True)
class Uptime:
    """A moment: which start of the machine this is, empty where nobody tells, and seconds since then."""

    boot: str
    seconds: float

    @classmethod
    def now(cls, environment: Mapping[str, str] = os.environ, boot: Path = _BOOT) -> Self:
        """Return this moment; a process that may not see the kernel's own name of this start is told it by its unit."""
        try:
            name = boot.read_text("ascii").strip().replace("-", "")
        except OSError:
            name = environment.get("DOORSTEP_BOOT", "")
        return cls(name, time.clock_gettime(time.CLOCK_BOOTTIME))


Now = Callable[[], Uptime]


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One change that waits to be said right.

    Attributes:
        begun: when it was made.
        until_s: when it goes back, in seconds since that start of the machine.
        settings: whether `relay.toml` is part of it.
        checkpoint: what the network service goes back to, empty where the network is no part of it.
    """

    begun: Uptime
    until_s: float
    settings: bool = False
    checkpoint: str = ""

    def left_s(self, now: Uptime) -> float:
        """Return how long somebody still has to say that it is right, in seconds; 0: it goes back."""
        if not self.is_of_this_start(now) or now.seconds < self.begun.seconds:
            return 0.0
        return max(0.0, self.until_s - now.seconds)

    def is_of_this_start(self, now: Uptime) -> bool:
        """Return whether the machine has run since it was begun, as far as anybody can tell."""
        return not (self.begun.boot and now.boot) or self.begun.boot == now.boot

    def render(self) -> bytes:
        """Return it as the file shows it."""
        import json

        return json.dumps(dataclasses.asdict(self)).encode("ascii")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the trial that `data` shows; of a file that cannot be read only that its time is up."""
        import json

        try:
            fields = json.loads(data)
            begun = fields.pop("begun")
            trial = cls(Uptime(str(begun["boot"]), float(begun["seconds"])), **fields)
            return dataclasses.replace(trial, until_s=float(trial.until_s))
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(Uptime("", float("inf")), 0.0, settings=True)


def pending(folder: Path) -> Trial | None:
    """Return the trial of this state folder, None where nothing is on trial."""
    try:
        return Trial.parse((folder / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        return Trial.parse(b"")
