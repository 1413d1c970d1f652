"""A real NetworkManager in a network of its own: two Ethernet interfaces, nothing of this machine's is touched."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

from relay.box.network_bus import NetworkUnavailableError
from relay.box.network_service import open_network_service
from tests.interop.peer_environments import DRIVERS, bus_daemon, cannot_be_had, dhcp_server, network_manager
from tests.interop.waiting import wait_until

_START_S = 10.0


class RealNetwork:
    """The service and its bus, for the length of a `with`; `eth0` ends at a machine that is 192.0.2.1.

    Attributes:
        address: of the bus, as DBUS_SYSTEM_BUS_ADDRESS names it.
        by_hand: interfaces that the service does not try to set up by itself.
    """

    def __init__(self, folder: Path, *, by_hand: str = "*") -> None:
        self._folder = folder
        self._by_hand = by_hand
        self.address = f"unix:path={folder / 'bus'}"
        self._bus, self._libraries = bus_daemon()
        self._program, self._program_libraries = network_manager()
        self._running: list[subprocess.Popen[bytes]] = []
        if os.geteuid():
            cannot_be_had("a network of its own", OSError("only root can have one"))
        if shutil.which("ip") is None:
            cannot_be_had("a network of its own", OSError("this machine has no ip"))

    def __enter__(self) -> Self:
        options = [str(self._bus), self._libraries, str(self._folder), self._by_hand]
        script = [str(DRIVERS / "own_network.sh"), *options]
        self._inside = subprocess.Popen(["unshare", "--net", "--mount", *script], stdout=subprocess.PIPE)
        assert self._inside.stdout is not None
        if not self._inside.stdout.readline():
            self.__exit__()
            cannot_be_had("a network of its own", OSError("namespaces cannot be made here"))
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*reversed(self._running), self._inside):
            process.kill()
            process.wait(10)
        assert self._inside.stdout is not None
        self._inside.stdout.close()

    def run(self, *command: str) -> str:
        """Run a command in there; return what it prints."""
        done = subprocess.run([*self._in_there(), *command], check=True, capture_output=True, text=True, timeout=20)
        return done.stdout

    def addresses(self, name: str) -> list[str]:
        """Return what the kernel says, without what every interface gives itself."""
        shown = self.run("ip", "-brief", "address", "show", name).split()[2:]
        return [address for address in shown if not address.startswith("fe80:")]

    @property
    def on_disk(self) -> list[str]:
        """What lies on disk."""
        return [path.read_text() for path in sorted((self._folder / "profiles").iterdir())]

    def take(self, address: str) -> None:
        """Give the other machine one more address."""
        self.run("ip", "address", "add", f"{address}/24", "dev", "far0")

    def lease(self) -> None:
        """Let the other machine answer DHCP."""
        program, libraries = dhcp_server()
        options = [
            "--keep-in-foreground",
            "--port=0",
            "--interface=far0",
            "--conf-file=/dev/null",
            "--no-ping",
            "--log-facility=-",
        ]
        command = [str(program), *options, "--dhcp-range=192.0.2.77,192.0.2.77", "--leasefile-ro", "--user=root"]
        self._run_inside(command, libraries)
        wait_until(lambda: "IP range" in (self._folder / "service.log").read_text())

    def restart(self) -> None:
        """Let the service alone start again: what lay in its memory is still in /run."""
        self._kill()
        self._start()

    def power_cut(self) -> None:
        """Start anew with what is on disk, as after a power cut."""
        self._kill()
        self.run("sh", "-c", "rm -rf /run/NetworkManager/*; ip addr flush dev eth0; ip link set eth0 down")
        self._start()

    def _kill(self) -> None:
        self._service.send_signal(signal.SIGKILL)
        self._service.wait(10)
        self._running.remove(self._service)

    def _start(self) -> None:
        command = [str(self._program), "--no-daemon", "--debug", f"--config={self._folder / 'service.conf'}"]
        self._service = self._run_inside(command, self._program_libraries)
        wait_until(self._is_up, _START_S)

    def _run_inside(self, command: list[str], libraries: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        log = (self._folder / "service.log").open("ab")
        with log:
            ran = [*self._in_there(), "env", f"LD_LIBRARY_PATH={libraries}", *command]
            process = subprocess.Popen(ran, env=environment, stdout=log, stderr=log)
        self._running.append(process)
        return process

    def _in_there(self) -> list[str]:
        return ["nsenter", f"--target={self._inside.pid}", "--net", "--mount"]

    def _is_up(self) -> bool:
        try:
            with open_network_service({"DBUS_SYSTEM_BUS_ADDRESS": self.address}) as service:
                states = {device.name: device.state for device in service.links.devices()}
        except NetworkUnavailableError:
            return False
        # With a carrier the first interface becomes ready by itself.
        return states.get("eth0", 0) > 20
