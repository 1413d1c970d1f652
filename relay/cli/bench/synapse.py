"""A real Synapse on loopback: its settings and its users, for measurements beside it and for tests against it."""

import hashlib
import hmac
import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SYNAPSE = """\
server_name: "{name}"
pid_file: "{dir}/homeserver.pid"
public_baseurl: "http://127.0.0.1:{client_port}/"
listeners:
  - {{port: {port}, type: http, tls: true, bind_addresses: {addresses},
      resources: [{{names: [federation, client, keys, media], compress: false}}]}}
  - {{port: {client_port}, type: http, tls: false, bind_addresses: ['127.0.0.1'],
      resources: [{{names: [client, media, health], compress: false}}]}}
tls_certificate_path: "{cert}"
tls_private_key_path: "{key}"
federation_custom_ca_list: {trusted}
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
_SYNAPSE_LOG = """\
version: 1
formatters: {{brief: {{format: '%(asctime)s %(name)s %(levelname)s %(message)s'}}}}
handlers: {{file: {{class: logging.FileHandler, filename: '{dir}/homeserver.log', formatter: brief}}}}
root: {{level: WARNING, handlers: [file]}}
disable_existing_loggers: false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SynapseSettings:
    """A Synapse on loopback: SQLite, presence off, no rate limits, certificates verified."""

    folder: Path
    port: int
    client_port: int
    cert: Path
    key: Path
    trusted: Sequence[Path]
    secret: str
    log_folder: Path | None = None
    """Where it logs; in its folder unless told."""
    host: str = "localhost"
    """Where other servers reach it, if they see this machine under another name."""

    @property
    def name(self) -> str:
        """The server name: an explicit port needs neither DNS nor .well-known."""
        return f"{self.host}:{self.port}"

    def write(self) -> Path:
        """Write the settings files into the folder; return the main one."""
        path = self.folder / "homeserver.yaml"
        path.write_text(
            _SYNAPSE.format(
                name=self.name,
                dir=self.folder,
                port=self.port,
                client_port=self.client_port,
                addresses=json.dumps(["127.0.0.1", "::1"] if Path("/proc/net/if_inet6").exists() else ["127.0.0.1"]),
                cert=self.cert,
                key=self.key,
                trusted=json.dumps(list(map(str, self.trusted))),
                secret=self.secret,
                free="{per_second: 100000, burst_count: 100000}",
            )
        )
        (self.folder / "log.yaml").write_text(_SYNAPSE_LOG.format(dir=self.log_folder or self.folder))
        return path


def register_with_secret(client_port: int, secret: str, user: str, password: str) -> dict[str, Any]:
    """Make a user and return her session (Synapse's admin API, "Shared-Secret Registration")."""
    path = "/_synapse/admin/v1/register"
    nonce = _admin(client_port, "GET", path, None)["nonce"]
    text = "\0".join([nonce, user, password, "notadmin"])
    mac = hmac.new(secret.encode(), text.encode(), hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": user, "password": password, "admin": False, "mac": mac}
    return _admin(client_port, "POST", path, body)


def _admin(client_port: int, method: str, path: str, body: dict[str, object] | None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", client_port, timeout=30)
    connection.request(method, path, None if body is None else json.dumps(body))
    reply: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return reply
