"""A whole box as a user runs it: provisioned and started by the command line, stopped kindly or not at all."""

import os
import subprocess
import sys
import time
from pathlib import Path

import trustme

from relay.base.config import FILE_NAME, load
from relay.cli.bench.servers import free_port
from tests.interop.listening_process import ListeningProcess, wait_for_port
from tests.interop.peer_clients import Api
from tests.interop.synapse_peer import wait_until_answers, write_certificate

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"


class BoxProcess(ListeningProcess):
    """One relay with its state folder; a context manager that starts and ends it.

    `state` is the state folder where it is not inside `folder`.
    With `behind` it stands behind a proxy: other servers reach it at that port, and it listens elsewhere, without TLS.
    `module` is what runs instead of `relay`.
    """

    def __init__(
        self,
        folder: Path,
        authority: trustme.CA,
        *,
        settings: dict[str, str] | None = None,
        state: Path | None = None,
        behind: int | None = None,
        module: str = "relay",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.state, self._module = folder, state or folder / "state", module
        port, self.client_port = free_port(), free_port()
        self.federation_port = port
        self.name = f"localhost:{behind or port}"
        self.base = f"http://127.0.0.1:{self.client_port}"
        write_certificate(authority, folder)
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD)
        free = {
            "rate.login_per_minute": "100000",
            "rate.login_burst": "100000",
            "rate.message_per_s": "100000",
            "rate.message_burst": "100000",
            "rate.federation_per_s": "100000",
            "rate.federation_burst": "100000",
            "rate.invite_per_minute": "100000",
            "rate.invite_burst": "100000",
        }
        outside = {"federation.tls": "false"} if behind else {}
        options = [f"--set={key}={value}" for key, value in {**free, **outside, **(settings or {})}.items()]
        self.relay(
            "provision",
            *("--name", self.name, "--profile", "desk", "--owner", "anna", "--password-file", self.password_file),
            *("--federation", f"localhost:{port}", "--client", f"127.0.0.1:{self.client_port}"),
            *("--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key", "--tls-ca", folder / "ca.crt"),
            *("--key-file", folder / "root.key", *options),
        )

    def relay(self, *arguments: object, within_s: float = 60) -> str:
        """Run one command on this box's state folder and return what it printed.

        Raises:
            RuntimeError: it ended with anything but 0; the message holds its standard error.
        """
        words = [str(word) for word in arguments]
        line = [sys.executable, "-m", "relay", *words, "--state", str(self.state)]
        outcome = subprocess.run(
            line, capture_output=True, text=True, timeout=within_s, check=False, env=self.environment()
        )
        if outcome.returncode:
            raise RuntimeError(f"relay {words[0]} ended with {outcome.returncode}: {outcome.stderr}")
        return outcome.stdout

    def set(self, settings: dict[str, str]) -> None:
        """Change settings of the box while it does not run."""
        path = self.state / FILE_NAME
        path.write_text(load(self.state).with_settings(settings).render())

    @staticmethod
    def environment() -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(self, within_s: float = 20, *, until_open: bool = True) -> float:
        """Start, wait until apps are answered, return how long that took in seconds.

        With `until_open` the wait goes on until other servers are let in too, which is a little later.
        """
        begun = time.monotonic()
        line = [sys.executable, "-m", self._module, "up", "--headless", "--state", str(self.state)]
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(line, stdout=out, stderr=out, env=self.environment())
        wait_until_answers(f"{self.base}/_matrix/client/versions", self.process, within_s)
        took_s = time.monotonic() - begun
        if until_open:
            wait_for_port(self.federation_port, self.process, within_s)
        return took_s

    def login(self, user: str = "anna", password: str = PASSWORD) -> Api:
        """Return the calls of a user of this box, logged in on a new device."""
        api = Api(self.base)
        api.login(user, password)
        return api

    def add_user(self, user: str) -> str:
        """Make another family member with the same password; returns the user id."""
        self.relay("user", "add", user, "--password-file", self.password_file)
        return f"@{user}:{self.name}"
