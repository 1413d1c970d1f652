"""The network's part of a change of settings: made, kept and taken back together with the rest.

The truth about addresses is the network service's own; beside `relay.toml` lies only `network.before`, what the last
change of the network goes back to. What is on trial lies in the service's memory: a power cut goes back by itself.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from relay.base.limits import NETWORK_WAIT_S
from relay.base.trial import NETWORK_BEFORE
from relay.box.network_addressing import by_interface
from relay.box.network_bus import NetworkRefusedError, NetworkUnavailableError
from relay.box.network_changes import Step, WayBack
from relay.box.network_service import NetworkService, open_network_service
from relay.cli.files import write_whole

# The service's own timer is the last resort: whoever looks after the trial comes first.
SLACK_S = 5.0
_SHOW_TIMEOUT_S = 3.0


class NetworkChange:
    """One change, checked, with nothing touched yet.

    Attributes:
        wait_s: how long it may take, each interface its time.
        checkpoint: what the service goes back to, once it has begun.
        notes: what people should know of it.
    """

    def __init__(self, service: NetworkService, steps: list[Step]) -> None:
        self._service = service
        self._steps = steps
        self.wait_s = NETWORK_WAIT_S * len(steps)
        self.checkpoint = ""
        self.notes: list[str] = []

    @property
    def ways(self) -> list[WayBack]:
        """Where each interface goes back to."""
        return [step.way_back for step in self._steps]

    def begin(self, confirm_s: float) -> None:
        """Have the service go back by itself, from now on.

        Raises:
            ConflictError: somebody else is changing the network.
        """
        devices = [step.device for step in self._steps]
        self.checkpoint = self._service.changes.begin(devices, self.wait_s + confirm_s + SLACK_S)

    def carry_out(self) -> None:
        """Make it, in memory.

        Raises:
            NetworkRefusedError: it did not come up so.
        """
        self.notes = self._service.changes.carry_out(self._steps, NETWORK_WAIT_S)

    def prolong(self, confirm_s: float) -> None:
        """Have the service go back so many seconds from now, and a little more."""
        self._service.changes.prolong(self.checkpoint, confirm_s + SLACK_S)

    def keep(self) -> None:
        """Make it last.

        Raises:
            NetworkRefusedError: the service had gone back already.
        """
        if not self._service.changes.keep(self.checkpoint, [way.profile for way in self.ways]):
            raise NetworkRefusedError("the network service went back by itself: everything is as it was before")

    def go_back(self) -> None:
        """Take it back."""
        self._service.changes.go_back(self.checkpoint, self.ways)

    def described(self) -> list[dict[str, Any]]:
        """Return the interfaces that it concerns, as they are now."""
        names = {step.device.name for step in self._steps}
        return [found for found in self._service.links.described() if found["name"] in names]


@contextmanager
def checked_change(settings: Mapping[str, str]) -> Iterator[NetworkChange | None]:
    """Check `network.*` settings against each other and against what there is; None where they change nothing.

    Raises:
        ConfigError: they cannot work, and why.
        NetworkUnavailableError: nobody looks after networks here.
    """
    if not settings:
        yield None
        return
    wanted = by_interface(settings)
    with open_network_service() as service:
        steps = service.changes.plan(wanted)
        yield NetworkChange(service, steps) if steps else None


def keep(folder: Path, checkpoint: str) -> bool:
    """Make what is on trial last; return whether it was still there."""
    with open_network_service() as service:
        return service.changes.keep(checkpoint, [way.profile for way in load_ways(folder)])


def go_back(folder: Path, checkpoint: str, *, same_start: bool) -> None:
    """Take back what is on trial.

    Args:
        folder: the state folder.
        checkpoint: what the service goes back to.
        same_start: whether the machine has run since; otherwise it began with what was before.

    Raises:
        NetworkUnavailableError: nobody answers, and what is on trial may still be in force.
    """
    try:
        with open_network_service() as service:
            service.changes.go_back(checkpoint if same_start else "", load_ways(folder))
    except NetworkUnavailableError:
        if same_start:
            raise


def restore(folder: Path) -> bool:
    """Bring back how the network was before the last change; return whether it was otherwise.

    Raises:
        NetworkUnavailableError: nobody answers.
    """
    ways = load_ways(folder)
    if not ways:
        return False
    with open_network_service() as service:
        if not service.changes.differs(ways):
            return False
        service.changes.go_back("", ways)
    return True


def settings_in_force() -> dict[str, str]:
    """Return the `network.*` settings without their first word; none where nobody looks after networks."""
    found: dict[str, str] = {}
    with suppress(NetworkUnavailableError), open_network_service(timeout_s=_SHOW_TIMEOUT_S) as service:
        for name, addressing in service.links.all_addressing().items():
            found.update({f"{name}.{key}": text for key, text in addressing.texts().items()})
    return found


def save_ways(folder: Path, ways: list[WayBack]) -> None:
    """Write where the network goes back to."""
    write_whole(folder / NETWORK_BEFORE, json.dumps([way.render() for way in ways]).encode("ascii"))


def load_ways(folder: Path) -> list[WayBack]:
    """Return where the network goes back to; nowhere where that cannot be read."""
    try:
        return [WayBack.parse(fields) for fields in json.loads((folder / NETWORK_BEFORE).read_bytes())]
    except (OSError, ValueError, KeyError, TypeError):
        return []
