"""Changes of how interfaces get their addresses, from which the network service goes back by itself.

A change is made under a checkpoint of NetworkManager, whose own timer goes back though nobody is left to ask for it,
and in profiles that lie in memory only: the next start of the machine begins with what was before. Only what is kept is
saved. A checkpoint does not outlive the service, so the way back is known here too. Source: NetworkManager D-Bus API,
CheckpointCreate, Update2, AddConnection2 and Save; NMCheckpointCreateFlags and NMSettingsUpdate2Flags of nm-dbus-types.
"""

import dataclasses
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from jeepney import DBusErrorResponse  # type: ignore[import-untyped]

from relay.base.errors import ConfigError, ConflictError
from relay.box.network_addressing import AUTO, DHCP, Addressing, Profile, refuse_doubles
from relay.box.network_bus import (
    ACTIVE,
    CONNECTION,
    NAME,
    NOTHING,
    ROOT,
    SETTINGS,
    SETTINGS_ROOT,
    NetworkBus,
    NetworkRefusedError,
)
from relay.box.network_links import CONNECTED, DISCONNECTED, WIFI, WITHOUT_CABLE, Device, Known, Links
from relay.box.system_bus import error_name

ACTIVATED, DEACTIVATED = 2, 4
_DELETE_NEW_CONNECTIONS = 0x02
_TO_DISK, _IN_MEMORY = 0x1, 0x2
_FORM = "a{sa{sv}}ua{sv}"
# How long what was asked for may come after the interface says that it is up: another machine's claim is heard first.
_GRACE_S = 4.0
_SETTLE_S = 5.0
_GETTING_ADDRESSES = 70


@dataclasses.dataclass(frozen=True, slots=True)
class WayBack:
    """What one interface goes back to.

    Attributes:
        interface: its name.
        profile: the uuid of the profile that is changed.
        made: whether the profile is new, and goes.
        before: how it got its addresses before.
    """

    interface: str
    profile: str
    made: bool
    before: Addressing

    def render(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return dataclasses.asdict(self)

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Self:
        """Return what `render` wrote.

        Raises:
            KeyError, TypeError: it did not.
        """
        return cls(fields["interface"], fields["profile"], bool(fields["made"]), Addressing(**fields["before"]))


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One interface's change. `known`: the profile that is changed; None: one is made."""

    device: Device
    known: Known | None
    before: Addressing
    after: Addressing
    uuid: str

    @property
    def way_back(self) -> WayBack:
        """What it goes back to."""
        return WayBack(self.device.name, self.uuid, self.known is None, self.before)


class Changes:
    """Plans, makes, keeps and takes back."""

    def __init__(self, bus: NetworkBus) -> None:
        self._bus = bus
        self._links = Links(bus)

    def plan(self, wanted: Mapping[str, Mapping[str, str]]) -> list[Step]:
        """Return what has to be done for the settings `wanted` of each interface; nothing is touched.

        Raises:
            ConfigError: it cannot be done, and why.
        """
        steps = [self._step(self._links.device(name), texts) for name, texts in wanted.items()]
        all_of = {**self._links.all_addressing(), **{step.device.name: step.after for step in steps}}
        refuse_doubles(all_of)
        return [step for step in steps if step.known is None or step.after != step.before]

    def _step(self, device: Device, texts: Mapping[str, str]) -> Step:
        known = self._links.profile_of(device)
        if known is None and device.kind == WIFI:
            raise ConfigError(f"{device.name} is in no network now: wifi join comes first")
        before = known.addressing if known else Addressing()
        return Step(
            device, known, before, before.changed(device.name, texts), known.uuid if known else str(uuid.uuid4())
        )

    def begin(self, devices: Sequence[Device], rollback_s: float) -> str:
        """Return a new checkpoint, to which the service goes back by itself after so many seconds.

        Raises:
            ConflictError: somebody else has one.
        """
        arguments = ([device.path for device in devices], math.ceil(rollback_s), _DELETE_NEW_CONNECTIONS)
        try:
            (checkpoint,) = self._bus.call(ROOT, NAME, "CheckpointCreate", "aouu", arguments)
        except DBusErrorResponse as error:
            if error_name(error) != "InvalidArguments":
                raise
            raise ConflictError("somebody else is changing the network: try again when that is over") from None
        return str(checkpoint)

    @contextmanager
    def guarded(self, checkpoint: str) -> Iterator[None]:
        """Go back to `checkpoint` if the change fails."""
        try:
            yield
        except BaseException:
            # The service may have gone back, or away, already; there is nothing better to do than to say what failed.
            with suppress(DBusErrorResponse):
                self._bus.call(ROOT, NAME, "CheckpointRollback", "o", (checkpoint,))
            raise

    def carry_out(self, steps: Sequence[Step], within_s: float) -> list[str]:
        """Make the change, in memory, and wait until each interface has what it was given; return notes for people.

        Raises:
            NetworkRefusedError: it did not come up so. Whoever calls this goes back.
        """
        notes = []
        for step in steps:
            path = self._write(step)
            notes += step.after.notes(step.device.name)
            if step.device.state == WITHOUT_CABLE:
                notes.append(f"{step.device.name} has no cable now: the settings count when it has one")
            else:
                self._activate(step, path, within_s)
        return notes

    def _write(self, step: Step) -> str:
        profile: Profile = step.known.profile if step.known else _new_profile(step)
        after = step.after.write(profile, step.before)
        if step.after.fixed() and "interface-name" not in after["connection"]:
            # An address is one machine's on one wire: no second interface may take it.
            after["connection"]["interface-name"] = ("s", step.device.name)
        try:
            if step.known is None:
                path, _ = self._bus.call(SETTINGS_ROOT, SETTINGS, "AddConnection2", _FORM, (after, _IN_MEMORY, {}))
                return str(path)
            self._bus.call(step.known.path, CONNECTION, "Update2", _FORM, (after, _IN_MEMORY, {}))
        except DBusErrorResponse as error:
            raise NetworkRefusedError(
                f"the network service takes no such settings for {step.device.name}: {error_name(error)}"
            ) from None
        return step.known.path

    def _activate(self, step: Step, path: str, within_s: float) -> None:
        name = step.device.name
        try:
            (active,) = self._bus.call(ROOT, NAME, "ActivateConnection", "ooo", (path, step.device.path, NOTHING))
        except DBusErrorResponse as error:
            raise NetworkRefusedError(f"{name} could not be set up so: {error_name(error)}") from None
        outcome = _Outcome(step, self._links, lambda: self.active_state(active))
        if not self._bus.wait(outcome.is_clear, within_s) or not outcome.good:
            raise NetworkRefusedError(f"{name} did not come up with these settings: {outcome.why}")

    def active_state(self, active: str) -> int:
        """Return how far an activation is (NMActiveConnectionState); one that failed is taken away with its object."""
        try:
            return int(self._bus.get(active, ACTIVE, "State"))
        except DBusErrorResponse:
            return DEACTIVATED

    def prolong(self, checkpoint: str, rollback_s: float) -> None:
        """Have the service go back so many seconds from now."""
        arguments = (checkpoint, math.ceil(rollback_s))
        self._bus.call(ROOT, NAME, "CheckpointAdjustRollbackTimeout", "ou", arguments)

    def keep(self, checkpoint: str, profiles: Sequence[str]) -> bool:
        """Make a change last; return whether it was still there."""
        try:
            self._bus.call(ROOT, NAME, "CheckpointDestroy", "o", (checkpoint,))
        except DBusErrorResponse:
            return False
        for known in filter(None, map(self._links.by_uuid, profiles)):
            self._bus.call(known.path, CONNECTION, "Save")
        return True

    def go_back(self, checkpoint: str, ways: Sequence[WayBack]) -> None:
        """Go back to `checkpoint` if there is one and it still exists, and in any case to what `ways` say."""
        if checkpoint:
            with suppress(DBusErrorResponse):
                self._bus.call(ROOT, NAME, "CheckpointRollback", "o", (checkpoint,))
        for way in ways:
            self._restore(way)
        names = {way.interface for way in ways}
        self._bus.wait(lambda: not any(d.name in names and _is_under_way(d) for d in self._links.devices()), _SETTLE_S)

    def differs(self, ways: Sequence[WayBack]) -> bool:
        """Return whether anything is otherwise than `ways` say."""
        for way in ways:
            known = self._links.by_uuid(way.profile)
            if known is not None and (way.made or known.addressing != way.before):
                return True
        return False

    def _restore(self, way: WayBack) -> None:
        known = self._links.by_uuid(way.profile)
        if known is None:
            return
        if way.made:
            self._bus.call(known.path, CONNECTION, "Delete")
            return
        if known.addressing == way.before:
            return
        after = way.before.write(known.profile, known.addressing)
        self._bus.call(known.path, CONNECTION, "Update2", _FORM, (after, _TO_DISK, {}))
        for device in self._links.devices():
            if device.name == way.interface and device.state > WITHOUT_CABLE:
                self._bus.call(ROOT, NAME, "ActivateConnection", "ooo", (known.path, device.path, NOTHING))


class _Outcome:
    """What becomes of an activation: whether the interface gets what it was set, and why it may not have it."""

    def __init__(self, step: Step, links: Links, state: Callable[[], int]) -> None:
        self._step = step
        self._links = links
        self._state = state
        self._tried_at: float | None = None
        self.good = False
        self.why = "the service gave up"

    def is_clear(self) -> bool:
        """Return whether there is nothing more to wait for."""
        state = self._state()
        device = self._links.device(self._step.device.name)
        lacks = self._lacks(device)
        self.good = state == ACTIVATED and not lacks
        if self._tried_at is None and (state == ACTIVATED or device.state >= _GETTING_ADDRESSES):
            self._tried_at = time.monotonic()
        # What is fixed comes at once or never, though the other kind of address may still be waited for.
        overdue = self._tried_at is not None and time.monotonic() - self._tried_at > _GRACE_S
        return self.good or state == DEACTIVATED or (lacks and overdue and self._step.after.address != DHCP)

    def _lacks(self, device: Device) -> bool:
        after = self._step.after
        now = [in_use.addresses for in_use in self._links.in_use(device)]
        for own in after.fixed():
            if str(own) not in now[own.version == 6]:
                self.why = f"it has no {own.ip}; another machine may have that address"
                return True
        # A box that lives by IPv6 alone may be changed without getting an IPv4 address.
        if after.address == DHCP and self._step.before.address != DHCP and not now[0]:
            self.why = "no DHCP server answered"
            return True
        return False


def _is_under_way(device: Device) -> bool:
    return device.state not in (WITHOUT_CABLE, DISCONNECTED, CONNECTED)


def _new_profile(step: Step) -> Profile:
    name = step.device.name
    return {
        "connection": {
            "id": ("s", f"Ethernet {name}"),
            "uuid": ("s", step.uuid),
            "type": ("s", "802-3-ethernet"),
            "interface-name": ("s", name),
        },
        "ipv4": {"method": ("s", AUTO)},
        "ipv6": {"method": ("s", AUTO)},
    }
