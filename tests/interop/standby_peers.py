"""Real engines for a standby: a NATS server with JetStream, and an S3-compatible store over a folder, on loopback."""

import os
import subprocess
from abc import abstractmethod
from pathlib import Path

from relay.cli.bench.servers import free_port
from tests.interop.listening_process import ListeningProcess, wait_for_port
from tests.interop.peer_environments import nats_server, versitygw

USER, PASSWORD = "anna", "a password in a file"
ACCESS_KEY, SECRET_KEY = "AKSTANDBY", "a secret in a file"
BUCKET = "family"


class Engine(ListeningProcess):
    """One process that listens; a context manager that starts and ends it.

    Attributes:
        target: what `standby.target` names.
        settings: the other settings of the box.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.target = ""
        self.settings: dict[str, str] = {}
        self.credentials = folder / "credentials"
        self.credentials.touch(mode=0o600)

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return what to run, and what stands in its environment."""

    def start(self) -> None:
        """Start, and wait until it listens."""
        words, environment = self.command()
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(words, stdout=out, stderr=out, env={**os.environ, **environment})
        wait_for_port(self.port, self.process)


class Nats(Engine):
    """A NATS server that syncs every message before it answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.target = f"nats://127.0.0.1:{self.port}/boxes"
        self.credentials.write_text(f"user = {USER}\npassword = {PASSWORD}\n")
        (folder / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f'jetstream {{ store_dir: "{folder}/jetstream", sync_interval: always }}\n'
            f'authorization {{ users: [ {{ user: "{USER}", password: "{PASSWORD}" }} ] }}\n'
        )

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [str(nats_server()), "-c", str(self.folder / "nats.conf")], {}


class Store(Engine):
    """An S3-compatible store over a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.target = f"s3://{BUCKET}/boxes"
        self.settings = {"standby.endpoint": f"http://127.0.0.1:{self.port}"}
        self.credentials.write_text(f"access_key_id = {ACCESS_KEY}\nsecret_access_key = {SECRET_KEY}\n")
        (folder / "root" / BUCKET).mkdir(parents=True, exist_ok=True)
        (folder / "sidecar").mkdir(exist_ok=True)

    def command(self) -> tuple[list[str], dict[str, str]]:
        words = [str(versitygw()), "--port", f"127.0.0.1:{self.port}", "--quiet", "--keep-alive"]
        words += ["posix", "--sidecar", str(self.folder / "sidecar"), str(self.folder / "root")]
        return words, {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
