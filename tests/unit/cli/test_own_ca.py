import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from relay.base.ids import ServerName
from relay.cli.own_ca import fingerprint, is_due, make_own_ca, make_where_lacking, renew_if_due

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def handshake(folder: Path, host: str) -> str:
    """Shake hands in memory, the certificate verified for `host`; return the protocol version."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "tls" / "cert.pem", folder / "tls" / "key.pem")
    client = ssl.create_default_context(cafile=str(folder / "tls" / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version() or ""


@pytest.mark.parametrize("host", ["box.example", "localhost", "127.0.0.1", "::1"])
def test_a_strict_client_that_trusts_the_authority_accepts_the_box(tmp_path: Path, host: str) -> None:
    make_own_ca(tmp_path, ServerName("box.example:8448"), NOW)
    assert handshake(tmp_path, host) == "TLSv1.3"


def test_another_name_is_refused(tmp_path: Path) -> None:
    make_own_ca(tmp_path, ServerName("box.example"), NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "other.example")


@pytest.mark.parametrize("name", ["192.0.2.7:8448", "[2001:db8::7]:8448"])
def test_a_name_that_is_an_address_is_named_as_one(tmp_path: Path, name: str) -> None:
    make_own_ca(tmp_path, ServerName(name), NOW)
    assert handshake(tmp_path, name.rpartition(":")[0].strip("[]"))


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    make_own_ca(tmp_path, ServerName("box.example"), NOW)
    assert all((tmp_path / "tls" / name).stat().st_mode & 0o077 == 0 for name in ("ca.key", "key.pem"))


def test_the_fingerprint_is_the_one_other_tools_show(tmp_path: Path) -> None:
    shown = make_own_ca(tmp_path, ServerName("box.example"), NOW)
    der = ssl.PEM_cert_to_DER_cert((tmp_path / "tls" / "ca.pem").read_text())
    certificate = x509.load_der_x509_certificate(der)
    from cryptography.hazmat.primitives.hashes import SHA256

    assert bytes.fromhex(shown.replace(":", "")) == certificate.fingerprint(SHA256())
    assert fingerprint(tmp_path) == shown


def test_a_leaf_is_renewed_when_it_nears_its_end_and_not_before(tmp_path: Path) -> None:
    name = ServerName("box.example")
    make_own_ca(tmp_path, name, NOW)
    before = fingerprint(tmp_path)
    assert not renew_if_due(tmp_path, name, NOW + datetime.timedelta(days=700))
    assert renew_if_due(tmp_path, name, NOW + datetime.timedelta(days=750))
    assert not renew_if_due(tmp_path, name, NOW + datetime.timedelta(days=750))
    assert fingerprint(tmp_path) == before


def test_a_leaf_whose_key_was_lost_in_a_power_cut_is_signed_anew(tmp_path: Path) -> None:
    name = ServerName("box.example")
    make_own_ca(tmp_path, name, NOW)
    (tmp_path / "tls" / "key.pem").write_bytes((tmp_path / "tls" / "ca.key").read_bytes())
    (tmp_path / "tls" / "renew-after").unlink()
    assert is_due(tmp_path, NOW)
    assert renew_if_due(tmp_path, name, NOW)
    assert handshake(tmp_path, "box.example")


def test_a_clock_that_was_never_set_does_not_make_a_certificate_that_has_ended(tmp_path: Path) -> None:
    make_own_ca(tmp_path, ServerName("box.example"), datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
    assert handshake(tmp_path, "box.example")


def test_whether_a_leaf_is_due_is_known_without_opening_it(tmp_path: Path) -> None:
    assert not is_due(tmp_path, NOW)
    make_own_ca(tmp_path, ServerName("box.example"), NOW)
    (tmp_path / "tls" / "cert.pem").write_text("not looked at")
    assert not is_due(tmp_path, NOW + datetime.timedelta(days=739))
    assert is_due(tmp_path, NOW + datetime.timedelta(days=741))


def test_a_stamp_that_was_lost_is_written_again_without_a_new_leaf(tmp_path: Path) -> None:
    name = ServerName("box.example")
    make_own_ca(tmp_path, name, NOW)
    (tmp_path / "tls" / "renew-after").write_text("rubbish")
    assert is_due(tmp_path, NOW)
    assert not renew_if_due(tmp_path, name, NOW)
    assert not is_due(tmp_path, NOW)


def test_an_authority_is_made_where_there_is_none_and_left_alone_where_there_is(tmp_path: Path) -> None:
    make_where_lacking(tmp_path, ServerName("box.example"))
    made = fingerprint(tmp_path)
    make_where_lacking(tmp_path, ServerName("box.example"))
    assert fingerprint(tmp_path) == made
