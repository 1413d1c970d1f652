"""The servers that are measured: a box of this very code, and a Synapse set up for loopback."""

import contextlib
import datetime
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from relay.base.config import FILE_NAME, Config
from relay.base.ids import ServerName
from relay.cli import own_ca
from relay.cli.bench.large import TOKEN_FILE
from relay.cli.bench.load import Connection, login
from relay.cli.bench.synapse import SynapseSettings, register_with_secret
from relay.cli.bench.virtual import NAMES

PASSWORD = "measured and not secret"  # noqa: S105 - the users live as long as the measurement
_RATES = ("login_per_minute", "login_burst", "message_per_s", "message_burst", "federation_per_s", "federation_burst")


def free_port() -> int:
    """Return a port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(ABC):
    """One home server in a folder of its own, with a client port on loopback and a federation port with TLS."""

    kind = ""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port, self.client_port = free_port(), free_port()
        self.name = f"localhost:{self.port}"
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        own_ca.make_own_ca(folder, ServerName(self.name), datetime.datetime.now(datetime.UTC))

    @abstractmethod
    def prepare(self, trusted: Sequence[Path]) -> None:
        """Set up the server, trusting the CA certificates in the files `trusted`, one in each."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that serves."""

    @abstractmethod
    def add_user(self, user: str) -> None:
        """Make a user with the password of all measurements."""

    health_path = "/_matrix/client/versions"

    def start(self) -> float:
        """Start; return the seconds until it answered its first request."""
        begun = time.perf_counter()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command(), stdout=out, stderr=out, cwd=self.folder)
        while time.perf_counter() - begun < 120:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended: see {self.log}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.client_port, timeout=5)
                connection.request("GET", self.health_path)
                if connection.getresponse().status == 200:
                    connection.close()
                    return time.perf_counter() - begun
            threading.Event().wait(0.005)
        raise RuntimeError(f"{self.kind} did not answer within 120 s")

    def stop(self, *, power_cut: bool = False) -> None:
        """End the process, kindly or with SIGKILL."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL if power_cut else signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def login(self, user: str, device: str = "") -> Connection:
        """Return a connection of `device` of `user`, of a new one unless named."""
        return login(self.client_port, user, PASSWORD, device)

    def commits(self) -> int | None:
        """Return how many commits the server's journal ever took; None where it has no such count."""
        return None

    def resident_mib(self) -> float:
        """Return the resident memory of the process in MiB."""
        return self._status_kib("VmRSS") / 1024

    def peak_resident_mib(self) -> float:
        """Return the highest resident memory since the start in MiB."""
        return self._status_kib("VmHWM") / 1024

    def _status_kib(self, field: str) -> int:
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise RuntimeError(f"no {field} in /proc")

    def cpu_s(self) -> float:
        """Return the processor seconds the process has used."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class BoxServer(Server):
    """A box as `relay provision` makes it, with the rate limits out of the way."""

    kind = "doorstep"
    settings: Mapping[str, str] = MappingProxyType({})
    """Beside those that every measured box has."""

    def prepare(self, trusted: Sequence[Path]) -> None:
        """Provision."""
        (self.folder / "password").write_text(PASSWORD)
        bundle = self.folder / "trusted.pem"
        bundle.write_text("".join(path.read_text() for path in trusted))
        limits = [f"--set=rate.{name}=1000000" for name in _RATES]
        limits += [f"--set={name}={value}" for name, value in self.settings.items()]
        self._relay(
            "provision",
            *("--name", self.name, "--profile", "desk", "--federation", f"localhost:{self.port}"),
            *("--client", f"127.0.0.1:{self.client_port}", "--key-file", str(self.folder / "root.key"), *limits),
            *("--tls-cert", str(self.folder / "tls/cert.pem"), "--tls-key", str(self.folder / "tls/key.pem")),
            *("--tls-ca", str(bundle)),
        )

    def commits(self) -> int | None:
        """Return how many commits the journal ever took."""
        count: int = json.loads(self._relay("status", "--json"))["ledger"]["commits"]
        return count

    def _relay(self, *words: str) -> str:
        command = [sys.executable, "-m", "relay", *words, "--state", str(self.folder / "state")]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if outcome.returncode:
            raise RuntimeError(f"{' '.join(words[:2])}: {outcome.stderr.strip()}")
        return outcome.stdout

    def command(self) -> list[str]:
        """Return `relay up`."""
        return [sys.executable, "-m", "relay", "up", "--headless", "--state", str(self.folder / "state")]

    def add_user(self, user: str) -> None:
        """Make a user through the command line."""
        self._relay("user", "add", user, "--password-file", str(self.folder / "password"))


class FoundBox(BoxServer):
    """A box as an appliance is: announced at home, here to itself, and asking a router, a silent one, for ports."""

    settings = MappingProxyType(
        {
            "uplink.announce": "true",
            # Not this machine's own name, which another box on it may have.
            "uplink.host": "measured",
            "uplink.interfaces": "lo",
            "uplink.map_ports": "auto",
            "uplink.gateway": "127.0.0.1:5351",
        }
    )


class GrownBox(BoxServer):
    """A box that lives on a copy of the state folder `grown`; nobody needs to log in."""

    def __init__(self, folder: Path, grown: Path) -> None:
        super().__init__(folder)
        self._grown = grown

    def prepare(self, trusted: Sequence[Path]) -> None:
        """Copy, and write the settings."""
        state = self.folder / "state"
        shutil.copytree(self._grown, state)
        tls = self.folder / "tls"
        config = Config.parse(
            {
                "server": {"name": NAMES[0]},
                "federation": {"listen": f"localhost:{self.port}", "allow_private_peers": True},
                "client": {"listen": f"127.0.0.1:{self.client_port}"},
                "tls": {"cert": str(tls / "cert.pem"), "key": str(tls / "key.pem"), "ca": str(trusted[0])},
                "rate": dict.fromkeys(_RATES, 1_000_000),
            }
        )
        (state / FILE_NAME).write_text(config.render())

    @property
    def token(self) -> str:
        """The access token of whoever filled it."""
        return (self.folder / "state" / TOKEN_FILE).read_text()


class SynapseServer(Server):
    """A Synapse on SQLite, presence off, no rate limits; `python` has matrix-synapse installed."""

    kind = "synapse"
    health_path = "/health"

    def __init__(self, folder: Path, python: Path) -> None:
        super().__init__(folder)
        self._python = str(python)
        self._secret = secrets.token_hex(16)

    def prepare(self, trusted: Sequence[Path]) -> None:
        """Write the settings and make the signing key."""
        tls = self.folder / "tls"
        SynapseSettings(
            folder=self.folder,
            port=self.port,
            client_port=self.client_port,
            cert=tls / "cert.pem",
            key=tls / "key.pem",
            trusted=trusted,
            secret=self._secret,
            log_folder=self.log.parent,
        ).write()
        subprocess.run(
            [*self.command(), "--generate-keys"], check=True, stdout=subprocess.DEVNULL, timeout=60, cwd=self.folder
        )

    def command(self) -> list[str]:
        """Return the home server process."""
        return [self._python, "-m", "synapse.app.homeserver", "-c", str(self.folder / "homeserver.yaml")]

    def add_user(self, user: str) -> None:
        """Make a user with the registration secret."""
        register_with_secret(self.client_port, self._secret, user, PASSWORD)
