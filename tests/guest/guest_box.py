"""The box inside the guest: asked from the host through forwarded ports, measured from within."""

import ssl
import threading
import time
import urllib.request
from dataclasses import dataclass

from tests.guest.machine import GuestMachine
from tests.interop.peer_clients import Api

STATE = "/var/lib/doorstep"
CONSOLE = "relay-console@ttyS0.service"
_OPEN_WITHIN_S = 240


@dataclass(frozen=True, slots=True)
class Resident:
    """Memory of one process, as the guest's kernel counts it."""

    now_mib: float
    peak_mib: float
    cgroup_mib: float


class GuestBox:
    """What has been set up in a guest; trusts the authority that it made for itself."""

    def __init__(self, machine: GuestMachine) -> None:
        self.machine = machine
        self.name = f"localhost:{machine.federation_port}"
        self.base = f"https://localhost:{machine.client_port}"
        self.authority = ""
        self.tls = ssl.create_default_context()

    def trust(self) -> None:
        """Read the authority that the box made for itself and trust it."""
        self.authority = self.machine.run(f"cat {STATE}/tls/ca.pem") + "\n"
        self.tls = ssl.create_default_context(cadata=self.authority)

    def wait_until_open(self, within_s: float = _OPEN_WITHIN_S) -> float:
        """Return how many seconds from now it took until apps are answered.

        Raises:
            TimeoutError: they were not.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < within_s:
            try:
                with urllib.request.urlopen(f"{self.base}/_matrix/client/versions", timeout=10, context=self.tls):
                    return time.monotonic() - begun
            except OSError:
                threading.Event().wait(0.5)  # nothing announces it to the host: ask again soon
        raise TimeoutError(f"{self.base} was never answered")

    def login(self, user: str, password: str) -> Api:
        """Return the calls of a user on a new device."""
        api = Api(self.base, tls=self.tls)
        api.login(user, password)
        return api

    def start_s(self, unit: str = "relay.service") -> float:
        """Return how long the unit's last start took until it said that it was ready."""
        properties = "-p InactiveExitTimestampMonotonic -p ActiveEnterTimestampMonotonic"
        told = self.machine.run(f"systemctl show {properties} {unit}")
        moments = dict(line.split("=") for line in told.splitlines())
        return (
            int(moments["ActiveEnterTimestampMonotonic"]) - int(moments["InactiveExitTimestampMonotonic"])
        ) / 1_000_000

    def resident(self, unit: str = "relay.service") -> Resident:
        """Return what the unit's main process takes."""
        told = self.machine.run(
            f"grep -E '^Vm(RSS|HWM):' /proc/$(systemctl show -p MainPID --value {unit})/status;"
            f" systemctl show -p MemoryCurrent --value {unit}"
        )
        lines = told.splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[:-1]}
        return Resident(kib["VmRSS"] / 1024, kib["VmHWM"] / 1024, int(lines[-1]) / (1 << 20))
