import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from relay.uplink.acme.problems import AcmeError
from relay.uplink.acme.renewal_info import Window, certificate_identifier, choose, parse_window

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)


def certificate(serial: int, issuer_key: bytes | None) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(serial).not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=1))
    if issuer_key is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer_key, None, None), critical=False)
    return builder.sign(key, hashes.SHA256())


def test_a_certificate_is_named_as_in_the_standards_own_example() -> None:
    # RFC 9773, section 4.1.
    issuer = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert certificate_identifier(certificate(0x87654321, issuer)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_without_its_issuers_key_it_has_no_name() -> None:
    assert certificate_identifier(certificate(5, None)) == ""


def test_a_window_is_two_moments_in_order() -> None:
    info = {"suggestedWindow": {"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00.123456789Z"}}
    window = parse_window(info)
    assert window.end_s - window.start_s == pytest.approx(86_400, abs=1)


@pytest.mark.parametrize(
    "window",
    [
        None,
        {"start": "2025-01-02T04:00:00Z"},
        {"start": "2025-01-02T04:00:00", "end": "2025-01-03T04:00:00"},
        {"start": "soon", "end": "later"},
        {"start": "2025-01-03T04:00:00Z", "end": "2025-01-02T04:00:00Z"},
    ],
)
def test_what_is_no_window_is_refused(window: object) -> None:
    with pytest.raises(AcmeError):
        parse_window({"suggestedWindow": window})


def test_the_moment_lies_in_the_window() -> None:
    assert choose(Window(100.0, 200.0), lambda most: most - 1) == 199.0
    assert choose(Window(100.0, 100.5), lambda most: most - 1) == 100.0
