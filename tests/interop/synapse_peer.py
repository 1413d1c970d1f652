"""A real Synapse on loopback, federating over TLS with certificates of a private CA, verified in both directions."""

import secrets
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import trustme

from relay.cli.bench.servers import free_port
from relay.cli.bench.synapse import SynapseSettings, register_with_secret
from tests.interop.listening_process import ListeningProcess
from tests.interop.peer_clients import Api
from tests.interop.waiting import wait_until


def write_certificate(authority: trustme.CA, folder: Path, *names: str) -> None:
    """Write `tls.crt`, `tls.key` and `ca.crt` for localhost, and for `names`, into `folder`."""
    leaf = authority.issue_cert("localhost", "127.0.0.1", "::1", *names)
    leaf.private_key_pem.write_to_path(folder / "tls.key")
    for number, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(folder / "tls.crt", append=number > 0)
    authority.cert_pem.write_to_path(folder / "ca.crt")


class SynapsePeer(ListeningProcess):
    """One Synapse process; a context manager that starts and ends it.

    `host` is the name under which other servers see this machine; `trusted` are authorities beside its own.
    """

    def __init__(
        self,
        folder: Path,
        python: Path,
        authority: trustme.CA,
        *,
        host: str = "localhost",
        trusted: Sequence[Path] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._python = folder, python
        port, self.client_port = free_port(), free_port()
        self.base = f"http://127.0.0.1:{self.client_port}"
        self._secret = secrets.token_hex(16)
        write_certificate(authority, folder, *([] if host == "localhost" else [host]))
        settings = SynapseSettings(
            folder=folder,
            port=port,
            client_port=self.client_port,
            cert=folder / "tls.crt",
            key=folder / "tls.key",
            trusted=[folder / "ca.crt", *trusted],
            secret=self._secret,
            host=host,
        )
        self.name = settings.name
        written = settings.write()
        # Nobody here looks at what it would push or counts as unread: in a large room that is most of its work.
        written.write_text(f"{written.read_text()}push: {{enabled: false}}\n")
        self._run = [str(python), "-m", "synapse.app.homeserver", "-c", str(written)]

    def start(self, within_s: float = 90) -> float:
        """Start, wait until healthy, return how long that took in seconds."""
        if not (self.folder / "signing.key").exists():
            subprocess.run([*self._run, "--generate-keys"], check=True, stdout=subprocess.DEVNULL, timeout=60)
        begun = time.monotonic()
        with (self.folder / "stdout.log").open("ab") as out:
            self.process = subprocess.Popen(self._run, stdout=out, stderr=out, cwd=self.folder)
        wait_until_answers(f"{self.base}/health", self.process, within_s)
        return time.monotonic() - begun

    def register(self, user: str, password: str) -> Api:
        """Make a user with the shared secret and return her calls."""
        return Api(self.base, register_with_secret(self.client_port, self._secret, user, password)["access_token"])


def wait_until_answers(url: str, process: subprocess.Popen[bytes], within_s: float) -> None:
    """Return when `url` answers 200.

    Raises:
        TimeoutError: it did not in time.
        RuntimeError: the process ended instead.
    """

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except OSError:
            return False

    wait_until(answers, within_s)
