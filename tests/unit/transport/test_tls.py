import contextlib
import hashlib
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from relay.transport.tls import client_context

BUNDLE = "ca-certificates.crt"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def system(tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the CA folder of a system that trusts `authority` alone, by hash as by bundle."""
    pem = authority.cert_pem.bytes()
    (tmp_path / BUNDLE).write_bytes(pem)
    (tmp_path / f"{subject_hash(x509.load_pem_x509_certificate(pem).subject)}.0").write_bytes(pem)
    trust(tmp_path / BUNDLE, tmp_path, monkeypatch)
    return tmp_path


def trust(bundle: Path, folder: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ssl.DefaultVerifyPaths(str(bundle), str(folder), "SSL_CERT_FILE", "/none", "SSL_CERT_DIR", "/none")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)


def subject_hash(name: x509.Name) -> str:
    """Return what OpenSSL names files by: SHA-1 of the lower-cased subject without its outer header."""
    canonical = b""
    for attribute in name:
        oid = x509.Name([attribute]).public_bytes()
        oid_der = oid[oid.index(b"\x06") :][: 2 + oid[oid.index(b"\x06") + 1]]
        text = " ".join(str(attribute.value).lower().split()).encode()
        canonical += der(0x31, der(0x30, oid_der + der(0x0C, text)))
    return hashlib.sha1(canonical).digest()[3::-1].hex()


def der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def shake_hands(authority: trustme.CA) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(down, up, server_hostname="localhost")
    server = server_side.wrap_bio(up, down, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.version() == "TLSv1.3"


def test_a_ca_of_the_system_is_loaded_when_a_peer_needs_it(system: Path, authority: trustme.CA) -> None:
    assert client_context().get_ca_certs() == []
    shake_hands(authority)


def test_a_ca_the_system_does_not_have_is_refused(system: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(trustme.CA(organization_name="Somebody else"))


@pytest.mark.parametrize("lacking", ["a link", "the bundle", "a folder"])
def test_where_the_folder_does_not_hold_every_ca_all_are_loaded(
    system: Path, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: loaded.append(1))
    if lacking == "a link":
        with (system / BUNDLE).open("ab") as bundle:
            bundle.write(trustme.CA().cert_pem.bytes())
    elif lacking == "the bundle":
        trust(system / "elsewhere.pem", system, monkeypatch)
    else:
        trust(system / BUNDLE, "", monkeypatch)
    client_context()
    assert loaded
