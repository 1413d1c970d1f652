import datetime
import hashlib
from pathlib import Path

import pytest
from cryptography import x509

from relay.cli.files import write_whole
from relay.transport.tls import challenge_context
from relay.uplink.acme.tls_alpn import TlsAlpn, asked_name

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def test_the_answer_lies_there_while_it_is_wanted_and_no_longer(tmp_path: Path) -> None:
    folder = tmp_path / "challenge"
    with TlsAlpn(folder, write_whole, NOW).answering("Box.example", "token.thumbprint"):
        (path,) = folder.iterdir()
        assert path.name == "box.example.pem"
        assert path.stat().st_mode & 0o777 == 0o600
        assert challenge_context(path).session_stats()["accept"] == 0
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert list(folder.iterdir()) == []
    # RFC 8737, section 3: one name, and the digest in a critical extension.
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("Box.example")]
    proof = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert proof.critical
    assert isinstance(proof.value, x509.UnrecognizedExtension)
    assert proof.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyError), TlsAlpn(tmp_path, write_whole, NOW).answering("box.example", "x"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("Box.example.", "box.example"),
        ("192.0.2.7", "7.2.0.192.in-addr.arpa"),
        ("2001:db8::1", "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_addresses_are_asked_for_by_their_reverse_names(name: str, asked: str) -> None:
    assert asked_name(name) == asked
