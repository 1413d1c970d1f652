"""A real Synapse on loopback, federating over TLS with certificates of a private CA, verified in both directions."""

import hashlib
import hmac
import json
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Self

import trustme

from tests.interop.peer_clients import Api

CONFIG = """\
server_name: "{name}"
pid_file: "{dir}/homeserver.pid"
public_baseurl: "http://127.0.0.1:{client_port}/"
listeners:
  - {{port: {port}, type: http, tls: true, bind_addresses: {addresses},
      resources: [{{names: [federation, client, keys, media], compress: false}}]}}
  - {{port: {client_port}, type: http, tls: false, bind_addresses: ['127.0.0.1'],
      resources: [{{names: [client, media, health], compress: false}}]}}
tls_certificate_path: "{dir}/tls.crt"
tls_private_key_path: "{dir}/tls.key"
federation_custom_ca_list: ["{dir}/ca.crt"]
federation_verify_certificates: true
federation_client_minimum_tls_version: 1.2
ip_range_blacklist: []
trusted_key_servers: []
suppress_key_server_warning: true
database: {{name: sqlite3, args: {{database: "{dir}/homeserver.db"}}}}
log_config: "{dir}/log.yaml"
media_store_path: "{dir}/media"
signing_key_path: "{dir}/signing.key"
registration_shared_secret: "{secret}"
macaroon_secret_key: "{secret}m"
form_secret: "{secret}f"
report_stats: false
presence: {{enabled: false}}
url_preview_enabled: false
enable_registration: false
bcrypt_rounds: 4
filter_timeline_limit: 100000
rc_message: {free}
rc_login: {{address: {free}, account: {free}, failed_attempts: {free}}}
rc_joins: {{local: {free}, remote: {free}}}
rc_joins_per_room: {free}
rc_invites: {{per_room: {free}, per_user: {free}, per_issuer: {free}}}
rc_room_creation: {free}
rc_media_create: {free}
rc_federation: {{window_size: 1000, sleep_limit: 1000000, sleep_delay: 1, reject_limit: 1000000, concurrent: 100}}
federation_rr_transactions_per_room_per_second: 1000
"""

LOG = """\
version: 1
formatters: {{brief: {{format: '%(asctime)s %(name)s %(levelname)s %(message)s'}}}}
handlers: {{file: {{class: logging.FileHandler, filename: '{dir}/homeserver.log', formatter: brief}}}}
root: {{level: INFO, handlers: [file]}}
disable_existing_loggers: false
"""


def free_port() -> int:
    """Return a port nobody listens on right now, on either loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_certificate(authority: trustme.CA, folder: Path) -> None:
    """Write `tls.crt`, `tls.key` and `ca.crt` for localhost into `folder`."""
    leaf = authority.issue_cert("localhost", "127.0.0.1", "::1")
    leaf.private_key_pem.write_to_path(folder / "tls.key")
    for number, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(folder / "tls.crt", append=number > 0)
    authority.cert_pem.write_to_path(folder / "ca.crt")


class SynapsePeer:
    """One Synapse process; a context manager that starts and ends it."""

    def __init__(self, folder: Path, python: Path, authority: trustme.CA) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._python = folder, python
        port, self.client_port = free_port(), free_port()
        self.name = f"localhost:{port}"
        self.base = f"http://127.0.0.1:{self.client_port}"
        self._secret = secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None
        write_certificate(authority, folder)
        addresses = "['127.0.0.1', '::1']" if Path("/proc/net/if_inet6").exists() else "['127.0.0.1']"
        free = "{per_second: 100000, burst_count: 100000}"
        (folder / "homeserver.yaml").write_text(
            CONFIG.format(
                name=self.name,
                dir=folder,
                port=port,
                client_port=self.client_port,
                addresses=addresses,
                secret=self._secret,
                free=free,
            )
        )
        (folder / "log.yaml").write_text(LOG.format(dir=folder))
        self._run = [str(python), "-m", "synapse.app.homeserver", "-c", str(folder / "homeserver.yaml")]

    def start(self, within_s: float = 90) -> float:
        """Start, wait until healthy, return how long that took in seconds."""
        if not (self.folder / "signing.key").exists():
            subprocess.run([*self._run, "--generate-keys"], check=True, stdout=subprocess.DEVNULL, timeout=60)
        begun = time.monotonic()
        with (self.folder / "stdout.log").open("ab") as out:
            self.process = subprocess.Popen(self._run, stdout=out, stderr=out, cwd=self.folder)
        wait_until_answers(f"{self.base}/health", self.process, within_s)
        return time.monotonic() - begun

    def stop(self) -> None:
        """End the process, kindly first."""
        if self.process is not None:
            end_process(self.process)
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def register(self, user: str, password: str) -> Api:
        """Make a user with the shared secret and return her calls."""
        path = f"{self.base}/_synapse/admin/v1/register"
        with urllib.request.urlopen(path, timeout=10) as answer:
            nonce = json.load(answer)["nonce"]
        text = "\0".join([nonce, user, password, "notadmin"])
        mac = hmac.new(self._secret.encode(), text.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": user, "password": password, "admin": False, "mac": mac}
        request = urllib.request.Request(path, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Api(self.base, json.load(answer)["access_token"])


def wait_until_answers(url: str, process: subprocess.Popen[bytes], within_s: float) -> None:
    """Return when `url` answers 200.

    Raises:
        TimeoutError: it did not in time.
        RuntimeError: the process ended instead.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < within_s:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            threading.Event().wait(0.01)  # nothing announces a foreign process's readiness: ask again soon
    raise TimeoutError(url)


def end_process(process: subprocess.Popen[bytes], within_s: float = 15) -> None:
    """Ask the process to end; after `within_s` seconds, end it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
