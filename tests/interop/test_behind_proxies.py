"""A box behind a real reverse proxy: one that ends TLS, and one that passes TCP on and keeps TLS on the box."""

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from relay.cli.bench.servers import free_port
from tests.interop.box_process import PASSWORD, BoxProcess
from tests.interop.haproxy_peer import FEW_LOGINS, Haproxy, check_limits_by_address
from tests.interop.peer_clients import Api, quote
from tests.interop.synapse_peer import SynapsePeer
from tests.interop.waiting import sync_until, wait_for_body, wait_for_invite

pytestmark = pytest.mark.interop

MEGABYTES = 20_000_000
# What hw/home-network.md shows, with ports for the run.
ENDS_TLS = """
defaults
    mode http
    timeout connect 5s
    timeout client 5m
    timeout server 5m
    option forwardfor
frontend apps
    bind 127.0.0.1:{apps}
    default_backend apps
frontend servers
    bind 127.0.0.1:{servers} ssl crt {folder}/both.pem alpn h2,http/1.1
    http-request set-header X-Forwarded-Proto https
    default_backend servers
backend apps
    server box 127.0.0.1:{box_apps} source 127.0.0.9
backend servers
    server box 127.0.0.1:{box_servers} source 127.0.0.9
"""
PASSES_TCP = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
frontend apps
    bind 127.0.0.1:{apps}
    default_backend apps
frontend servers
    bind 127.0.0.1:{servers}
    default_backend servers
backend apps
    server box 127.0.0.1:{box_apps} source 127.0.0.9 send-proxy-v2
backend servers
    server box 127.0.0.1:{box_servers} source 127.0.0.9 send-proxy-v2
"""


@dataclass
class Behind:
    """A box, and where the proxy in front of it listens."""

    box: BoxProcess
    apps: int
    servers: int


@pytest.fixture(scope="module", params=["ends-tls", "passes-tcp"])
def behind(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp(request.param)
    apps, servers = free_port(), free_port()
    ends_tls = request.param == "ends-tls"
    way = "behind_proxy" if ends_tls else "proxy_from"
    settings = {f"client.{way}": "127.0.0.9", f"federation.{way}": "127.0.0.9", **FEW_LOGINS}
    settings["federation.tls"] = "false" if ends_tls else "true"
    box = BoxProcess(folder / "box", authority, settings=settings, behind=servers)
    keys = [(box.folder / name).read_text() for name in ("tls.crt", "tls.key")]
    (folder / "both.pem").write_text("".join(keys))
    text = (ENDS_TLS if ends_tls else PASSES_TCP).format(
        apps=apps, servers=servers, box_apps=box.client_port, box_servers=box.federation_port, folder=folder
    )
    with Haproxy(folder, text, [apps, servers]), box:
        yield Behind(box, apps, servers)


def test_limits_count_for_each_address_that_the_proxy_saw(behind: Behind) -> None:
    check_limits_by_address(behind.apps)


def test_other_servers_and_apps_do_not_notice_the_proxy(behind: Behind, synapse: SynapsePeer) -> None:
    anna = Api(f"http://127.0.0.1:{behind.apps}")
    anna.login("anna", PASSWORD)
    user = f"berta-{behind.apps}"
    berta = synapse.register(user, "berta's password")
    room = anna.call("POST", "v3/createRoom", {"invite": [f"@{user}:{synapse.name}"], "preset": "private_chat"})
    name = room["room_id"]
    wait_for_invite(berta, name)
    berta.call("POST", f"v3/join/{quote(name)}?via={quote(behind.box.name)}", {})
    anna.send(name, "from behind", "t1")
    wait_for_body(berta, name, "from behind")
    berta.send(name, "from outside", "t2")
    wait_for_body(anna, name, "from outside")
    since = anna.call("GET", "v3/sync?timeout=0")["next_batch"]
    begun = time.monotonic()
    quiet = anna.call("GET", f"v3/sync?timeout=1500&since={since}")
    assert time.monotonic() - begun >= 1.4
    sync_until(anna, lambda answer: answer["next_batch"], since=quiet["next_batch"])


def test_a_large_file_goes_through_both_ways(behind: Behind) -> None:
    anna = behind.box.login()
    through = Api(f"http://127.0.0.1:{behind.apps}", anna.token)
    address = through.upload(bytes(MEGABYTES))
    connection = http.client.HTTPConnection("127.0.0.1", behind.apps, timeout=60)
    path = f"/_matrix/client/v1/media/download/{address.removeprefix('mxc://')}"
    connection.request("GET", path, headers={"Authorization": f"Bearer {anna.token}"})
    assert len(connection.getresponse().read()) == MEGABYTES
    connection.close()


def test_doctor_and_status_know_the_proxy(behind: Behind) -> None:
    status = json.loads(behind.box.relay("status", "--json"))
    assert set(status["connections"]) == {"client", "federation"}
    found = behind.box.relay("doctor", "--json")
    assert "does not say whom it speaks for" not in found


def test_tls_ends_where_it_should(behind: Behind, authority: trustme.CA) -> None:
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    connection = http.client.HTTPSConnection("localhost", behind.servers, timeout=20, context=context)
    connection.request("GET", "/_matrix/key/v2/server")
    assert json.load(connection.getresponse())["server_name"] == behind.box.name
    connection.close()


def test_a_proxy_that_does_not_forward_the_address_is_found(authority: trustme.CA, tmp_path: Path) -> None:
    settings = {"client.behind_proxy": "127.0.0.1"}
    with BoxProcess(tmp_path / "box", authority, settings=settings) as box:
        box.login()
        assert "does not say whom it speaks for" in box.relay("doctor")
