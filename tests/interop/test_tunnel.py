"""The way in through another machine: app -> haproxy -> ssh -R -> box, with the files that hw/ ships.

The box sees the app's address, TLS ends on the box, and doctor notices when the tunnel goes and when it is back.
"""

import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from relay.cli.bench.servers import free_port
from tests.interop.box_process import PASSWORD, ROOT, BoxProcess
from tests.interop.haproxy_peer import FEW_LOGINS, Haproxy, check_limits_by_address
from tests.interop.listening_process import ListeningProcess, wait_for_port
from tests.interop.peer_clients import Api
from tests.interop.peer_environments import cannot_be_had, ssh_server

pytestmark = pytest.mark.interop

UNIT = ROOT / "systemd" / "relay-tunnel.service"
RECIPE = ROOT / "hw" / "tunnel.md"


# Accounts of a machine that has been set up by the recipe, in sight of that sshd alone.
ACCOUNTS = {
    "passwd": "root:x:0:0::/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
    "doorstep-tunnel:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
    "shadow": "root:*:20000::::::\nsshd:*:20000::::::\ndoorstep-tunnel:*:20000::::::\n",
}
IN_ITS_PLACE = (
    'mount -t tmpfs none /run && mkdir -m 755 /run/sshd && mount --bind "$0/passwd" /etc/passwd'
    ' && mount --bind "$0/shadow" /etc/shadow && exec "$@"'
)


class SshServer(ListeningProcess):
    """A real sshd on loopback, restricted as hw/tunnel.md says."""

    def __init__(self, folder: Path, listens: list[int]) -> None:
        if os.geteuid():
            cannot_be_had("sshd", OSError("only root can give it its accounts"))
        self._program, libraries = ssh_server()
        self._environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
        self.folder, self.port = folder, free_port()
        for name, text in ACCOUNTS.items():
            (folder / name).write_text(text)
        for name in ("host", "key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True, timeout=20)
        permitted = ",".join(f'permitlisten="127.0.0.1:{port}"' for port in listens)
        (folder / "authorized_keys").write_text(
            f"restrict,port-forwarding,{permitted} {(folder / 'key.pub').read_text()}"
        )
        host = (folder / "host.pub").read_text().split()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host[0]} {host[1]}\n")
        (folder / "sshd_config").write_text(self._settings(listens))
        folder.chmod(0o755)

    def _settings(self, listens: list[int]) -> str:
        restrictions = re.search(r"Match User doorstep-tunnel\n(?: {11}.*\n)+", RECIPE.read_text())
        assert restrictions is not None
        own_ports = " ".join(f"127.0.0.1:{port}" for port in listens)
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"PidFile {self.folder}/pid",
            "UsePAM no",
            "StrictModes no",
            re.sub("PermitListen .*", f"PermitListen {own_ports}", restrictions[0]),
        ]
        return "\n".join(lines)

    def start(self) -> None:
        command = [str(self._program), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "log").open("ab") as out:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", IN_ITS_PLACE, str(self.folder), *command],
                stdout=out,
                stderr=out,
                env=self._environment,
            )
        wait_for_port(self.port, self.process)


class Tunnel(ListeningProcess):
    """The command of relay-tunnel.service, with the credentials where systemd would have put them."""

    def __init__(self, server: SshServer, folder: Path, ways: dict[int, int]) -> None:
        self._folder, self._first = folder, next(iter(ways))
        forwards = "".join(f"    RemoteForward 127.0.0.1:{far} 127.0.0.1:{near}\n" for far, near in ways.items())
        host = f"Host tunnel\n    HostName 127.0.0.1\n    Port {server.port}\n    User doorstep-tunnel\n"
        (folder / "doorstep.tunnel.config").write_text(host + forwards)
        for name in ("key", "known_hosts"):
            shutil.copy(server.folder / name, folder / f"doorstep.tunnel.{name}")
        (folder / "doorstep.tunnel.key").chmod(0o600)
        command = re.search(r"^ExecStart=((?:.*\\\n)*.*)", UNIT.read_text(), re.MULTILINE)
        assert command is not None
        self._command = command[1].replace("\\\n", " ").replace("%d", str(folder)).split()
        self._command[0] = shutil.which("ssh") or self._command[0]

    def start(self) -> None:
        with (self._folder / "log").open("ab") as out:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        wait_for_port(self._first, self.process)


@dataclass
class Outside:
    """The box behind its tunnel, and the ports of the machine that the world reaches."""

    box: BoxProcess
    tunnel: Tunnel
    apps: int
    servers: int


def shipped_haproxy(ports: dict[str, int]) -> str:
    text = (ROOT / "hw" / "haproxy.cfg").read_text()
    for shipped, port in ports.items():
        assert text.count(shipped) == 1
        place = f"127.0.0.1:{port}"
        text = text.replace(shipped, f"bind {place}" if shipped.startswith("bind") else place)
    return text


@pytest.fixture(scope="module")
def outside(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("tunnel")
    apps, servers, far_apps, far_servers = (free_port() for _ in range(4))
    proxied = {f"{door}.proxy_from": "127.0.0.1" for door in ("client", "federation")}
    settings = {**proxied, "federation.tls": "true", **FEW_LOGINS}
    box = BoxProcess(folder / "box", authority, settings=settings, behind=servers)
    box.base = f"http://127.0.0.1:{apps}"
    text = shipped_haproxy(
        {"bind :443": apps, "bind :8448": servers, "127.0.0.1:10443": far_apps, "127.0.0.1:18448": far_servers}
    )
    place = Path(tempfile.mkdtemp(prefix="doorstep-sshd-"))
    try:
        server = SshServer(place, [far_apps, far_servers])
        tunnel = Tunnel(server, folder, {far_apps: box.client_port, far_servers: box.federation_port})
        with server, tunnel, Haproxy(folder, text, [apps, servers]), box:
            yield Outside(box, tunnel, apps, servers)
    finally:
        shutil.rmtree(place)


def test_the_box_sees_the_address_of_the_app(outside: Outside) -> None:
    check_limits_by_address(outside.apps)


def test_tls_ends_on_the_box(outside: Outside, authority: trustme.CA) -> None:
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    connection = http.client.HTTPSConnection("localhost", outside.servers, timeout=20, context=context)
    connection.request("GET", "/_matrix/key/v2/server")
    assert json.load(connection.getresponse())["server_name"] == outside.box.name
    sock = connection.sock
    assert isinstance(sock, ssl.SSLSocket)
    shown = sock.getpeercert(binary_form=True)
    connection.close()
    own = ssl.PEM_cert_to_DER_cert(
        (outside.box.folder / "tls.crt").read_text().partition("-----END CERTIFICATE-----\n")[0]
        + "-----END CERTIFICATE-----\n"
    )
    assert shown == own


def test_apps_work_through_it(outside: Outside) -> None:
    anna = Api(f"http://127.0.0.1:{outside.apps}")
    anna.login("anna", PASSWORD)
    assert anna.call("GET", "v3/sync?timeout=0")["next_batch"]


def test_the_key_opens_no_other_port(outside: Outside) -> None:
    other = free_port()
    command = [*outside.tunnel._command[:-1], "-o", "ClearAllForwardings=no", "-R", f"127.0.0.1:{other}:127.0.0.1:9"]
    outcome = subprocess.run(
        [*command, "tunnel"], capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL
    )
    assert outcome.returncode != 0
    assert "forwarding failed" in outcome.stderr


def doctor(outside: Outside) -> str:
    return outside.box.relay("doctor", "--json")


def test_doctor_notices_when_the_tunnel_goes_and_comes_back(outside: Outside) -> None:
    assert "uplink.not_reached" not in doctor(outside)
    outside.tunnel.stop()
    assert "uplink.not_reached" in doctor(outside)
    deadline = time.monotonic() + 20
    while True:
        # The other end may need a moment to give the ports back.
        try:
            outside.tunnel.start()
            break
        except RuntimeError:
            assert time.monotonic() < deadline
            threading.Event().wait(0.2)  # nothing announces it: try again soon
    assert "uplink.not_reached" not in doctor(outside)
