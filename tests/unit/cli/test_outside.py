import ssl
from pathlib import Path

import pytest
import trustme

from relay.admin.operations import Finding
from relay.base.config import Config
from relay.cli import outside
from relay.cli.outside import Internet, find_on_the_network, find_outside, own_certificates, ways_out
from relay.cli.reachability import Outside
from relay.uplink import routes
from relay.uplink.routes import Gateway

BOX = Config.parse({"server": {"name": "home.example"}})


def test_the_certificates_that_the_listeners_may_show_are_known(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    issued = trustme.CA().issue_cert("home.example")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    own = frozenset([ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())])
    (tmp_path / "tls" / "cert.pem").write_bytes(b"comment\n" + chain)
    assert own_certificates(tmp_path, BOX) == own
    (tmp_path / "mine.pem").write_bytes(chain)
    assert own_certificates(tmp_path, BOX.with_settings({"tls.cert": "mine.pem"})) == own
    assert own_certificates(tmp_path, BOX.with_settings({"federation.tls": "false"})) == frozenset()
    (tmp_path / "mine.pem").write_bytes(b"no certificate")
    assert own_certificates(tmp_path, BOX.with_settings({"tls.cert": "mine.pem"})) == frozenset()
    assert own_certificates(tmp_path / "nowhere", BOX) == frozenset()


@pytest.mark.parametrize(
    ("gateways", "families"), [((), set()), (("192.0.2.1",), {4}), (("192.0.2.1", "fe80::1"), {4, 6})]
)
def test_the_ways_out_are_the_families_that_have_a_gateway(
    gateways: tuple[str, ...], families: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "gateways_here", lambda: [Gateway(address, "eth0") for address in gateways])
    assert ways_out() == families


def test_before_the_clock_is_set_nobody_is_asked_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "system_knows_time", lambda: False)
    (finding,) = find_on_the_network(Path(), BOX, [])
    assert finding.what.startswith("uplink.clock")


def test_a_private_ca_that_is_gone_is_a_finding_among_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outside, "system_knows_time", lambda: True)
    (finding,) = find_on_the_network(tmp_path, BOX.with_settings({"tls.ca": "gone.pem"}), [])
    assert finding.level == "fault"
    assert "gone.pem cannot be used" in finding.what


def test_a_box_that_serves_nobody_is_not_looked_for_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "relay.toml").write_text(BOX.render())
    seen = [Finding("note", "looked", "")]
    monkeypatch.setattr(outside, "find_on_the_network", lambda *_: seen)
    for running in (False, True):
        monkeypatch.setattr(outside, "ask", lambda _folder, _fields, now=running: {"running": now})
        assert find_outside(tmp_path) == (seen if running else [])


async def test_the_internet_is_an_outside() -> None:
    async with Internet.open(Path(), BOX) as internet:
        asked: Outside = internet
        # The kernel answers this one itself, without a name server.
        assert await asked.addresses("127.0.0.1") == ["127.0.0.1"]
        assert await asked.addresses("x" * 64 + ".example") == []
    assert outside.WITHIN_S <= 5
