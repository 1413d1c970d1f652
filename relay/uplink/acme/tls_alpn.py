"""The TLS-ALPN-01 challenge: a certificate that only the authority ever sees, in a file that the listeners find.

Source: RFC 8737, 3; RFC 8738, 6 for addresses.
"""

import contextlib
import datetime
import hashlib
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from relay.uplink.acme.hosts import alternative_names
from relay.uplink.acme.jose import make_key, render_key

# RFC 8737, section 6.1.
_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTET_STRING = b"\x04\x20"
# A clock that is a little wrong must not matter; nobody looks at the dates.
_DAYS = datetime.timedelta(days=7)


class TlsAlpn:
    """Puts the answers into a folder, one file for each name, key and certificate together.

    Args:
        folder: where the listeners look.
        keep: writes a file whole and private.
        now: the time of day.
    """

    kind = "tls-alpn-01"

    def __init__(self, folder: Path, keep: Callable[[Path, bytes], None], now: datetime.datetime) -> None:
        self._folder = folder
        self._keep = keep
        self._now = now

    @contextlib.contextmanager
    def answering(self, name: str, authorization: str) -> Iterator[None]:
        """Have connections that ask for the challenge of `name` answered while the block runs."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{asked_name(name)}.pem"
        self._keep(path, challenge_certificate(name, authorization, self._now))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def asked_name(name: str) -> str:
    """Return what the authority asks for by SNI: the name, or an address as its reverse name (RFC 8738, section 6)."""
    try:
        return ipaddress.ip_address(name).reverse_pointer
    except ValueError:
        return name.lower().rstrip(".")


def challenge_certificate(name: str, authorization: str, now: datetime.datetime) -> bytes:
    """Return key and self-signed certificate (PEM) that answer the challenge: the one name, and the digest."""
    key = make_key()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    digest = _OCTET_STRING + hashlib.sha256(authorization.encode("ascii")).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAYS)
        .not_valid_after(now + _DAYS)
        .add_extension(alternative_names([name]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return render_key(key).encode("ascii") + certificate.public_bytes(serialization.Encoding.PEM)
