"""Certificates from a real ACME server: over the running box's own listener, and through a real name server."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.cli.bench.servers import free_port
from relay.uplink.acme.jose import encode
from relay.uplink.acme.places import CERTIFICATE, FOLDER
from tests.interop.box_process import BoxProcess
from tests.interop.certificate_peers import NAME, Pebble, issuer, shown
from tests.interop.name_server_peer import NameServer
from tests.interop.waiting import wait_until

pytestmark = pytest.mark.interop


def ask(box: BoxProcess, **fields: object) -> dict[str, Any]:
    """Return the result of one request to the box's state folder, as the running box would have it carried out."""
    line = [sys.executable, "-m", "relay", "ask", "--state", str(box.state)]
    sent = json.dumps(fields).encode() + b"\n"
    ended = subprocess.run(line, input=sent, capture_output=True, check=True, timeout=60, env=box.environment())
    reply = json.loads(ended.stdout)
    assert reply["ok"], reply
    result: dict[str, Any] = reply["result"]
    return result


def findings(box: BoxProcess) -> dict[str, str]:
    return {finding["what"]: finding["next_step"] for finding in ask(box, verb="doctor")["findings"]}


def trusted(box: BoxProcess, root: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=root)
    context.load_verify_locations(
        cadata=(box.state / CERTIFICATE).read_text().partition("-----END PRIVATE KEY-----")[2]
    )
    return context


@pytest.fixture
def box(authority: trustme.CA, tmp_path: Path) -> Iterator[BoxProcess]:
    """Return a box with a certificate of its own CA."""
    box = BoxProcess(tmp_path / "box", authority, settings={"tls.cert": "", "tls.key": ""})
    yield box
    box.stop()


def test_a_box_is_certified_over_its_own_listener_and_renews_when_the_authority_suggests(
    box: BoxProcess, authority: trustme.CA, tmp_path: Path
) -> None:
    with Pebble(tmp_path / "pebble", authority, tls_port=box.federation_port, nonces=15) as pebble:
        box.set(pebble.settings())
        box.start()
        assert issuer(box.federation_port).startswith("Doorstep own CA")
        wait_until(lambda: issuer(box.federation_port).startswith("Pebble"), 25)
        first = shown(box.federation_port)
        assert not [what for what in findings(box) if what.startswith("certificate.") and NAME not in what]
        assert ask(box, verb="status")["certificate"]["ends_s"] == round(first.not_valid_after_utc.timestamp())
        box.stop()
        chain = (box.state / CERTIFICATE).read_text().partition("-----END PRIVATE KEY-----\n")[2]
        pebble.suggest(chain, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
        box.start()
        assert shown(box.federation_port).serial_number == first.serial_number
        wait_until(lambda: shown(box.federation_port).serial_number != first.serial_number, 25)
        assert issuer(box.federation_port).startswith("Pebble")
        assert len(json.loads((box.state / FOLDER / "record.json").read_text())["orders"]) == 2


def test_what_keeps_a_certificate_away_is_found_by_the_doctor(
    box: BoxProcess, authority: trustme.CA, tmp_path: Path
) -> None:
    with Pebble(tmp_path / "pebble", authority, tls_port=free_port()) as pebble:
        box.set({**pebble.settings(), "acme.terms_agreed": "false"})
        assert ask(box, verb="certificate_tend")["failed"] == "terms"
        assert any("nobody agreed to the terms" in what for what in findings(box))
        box.set({"acme.terms_agreed": "true"})
        assert ask(box, verb="certificate_tend", at_start=True)["failed"] == "unauthorized"
        found = findings(box)
        (what,) = [what for what in found if "no new one" in what]
        assert what.startswith(f"certificate.unauthorized: no new one for {NAME}: Failed to connect to 127.0.0.1:")
        assert "forward it at the router" in found[what]
        assert "the box tries again at " in found[what]
        assert any("looks for the box at port 443" in what for what in found)
        box.set({"acme.names": "blocked.example.test"})
        assert ask(box, verb="certificate_tend")["failed"] == "rejectedIdentifier"
    box.set({"acme.names": NAME})
    assert ask(box, verb="certificate_tend")["failed"] == "unreachable"


def test_an_authority_with_accounts_of_its_own_is_shown_the_key_that_it_gave(
    box: BoxProcess, authority: trustme.CA, tmp_path: Path
) -> None:
    keys = {f"kid-{number}": encode(bytes([number]) * 32) for number in (1, 2)}
    with Pebble(tmp_path / "pebble", authority, tls_port=box.federation_port, mac_keys=keys) as pebble:
        box.set(pebble.settings())
        assert ask(box, verb="certificate_tend")["failed"] == "externalAccountRequired"
        assert any("acme.eab_key_id" in step for step in findings(box).values())
        (box.state / "eab.key").write_text(keys["kid-2"])
        box.set({"acme.eab_key_id": "kid-1", "acme.eab_key_file": "eab.key"})
        assert ask(box, verb="certificate_tend", at_start=True)["failed"] == "binding"
        (box.state / "eab.key").write_text(keys["kid-1"] + "\n")
        box.start()
        wait_until(lambda: issuer(box.federation_port).startswith("Pebble"), 25)


def test_a_name_server_proves_the_name_and_follows_the_address(
    box: BoxProcess, authority: trustme.CA, tmp_path: Path
) -> None:
    with NameServer(tmp_path / "names") as names:
        dns = {"dns.server": names.address, "dns.key_file": str(names.key_file), "dns.name": NAME}
        with Pebble(tmp_path / "pebble", authority, tls_port=free_port(), names=names.address) as pebble:
            box.set({**dns, **pebble.settings("dns-01")})
            tended = ask(box, verb="certificate_tend")
            assert (tended["renewed"], tended["failed"]) == (True, "")
        assert names.ask("box.acme.example.test", "TXT") == set()
        box.set({"dns.method": "rfc2136"})
        assert ask(box, verb="name_update", ipv4="192.0.2.7", ipv6="2001:db8::7") == {"changed": True}
        assert ask(box, verb="name_update", ipv4="192.0.2.7", ipv6="2001:db8::7") == {"changed": False}
        assert names.ask(NAME, "A") | names.ask(NAME, "AAAA") == {"192.0.2.7", "2001:db8::7"}
        assert ask(box, verb="name_update", ipv4="192.0.2.8", ipv6="") == {"changed": True}
        assert names.ask(NAME, "A") | names.ask(NAME, "AAAA") == {"192.0.2.8"}
        for change, kind in (
            ({"dns.name": "other.example.test"}, "refused"),
            ({"dns.name": "box.elsewhere.test"}, "zone"),
            ({"dns.name": NAME, "dns.server": f"127.0.0.1:{free_port()}"}, "unreachable"),
        ):
            box.set(change)
            assert ask(box, verb="name_update", ipv4="192.0.2.9")["kind"] == kind
        box.set({"dns.server": names.address})
        for old, new, kind in (('"c2Vj', '"d2Vj', "secret"), ('key "box"', 'key "stranger"', "key")):
            text = names.key_file.read_text()
            names.key_file.write_text(text.replace(old, new))
            assert ask(box, verb="name_update", ipv4="192.0.2.9")["kind"] == kind
            names.key_file.write_text(text)
