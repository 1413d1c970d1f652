"""A certificate authority of the box's own, for a box nobody gave a certificate.

`DIR/tls` holds ca.pem and ca.key, the leaf they signed, cert.pem and key.pem, and when that is due. cryptography is
loaded inside the functions: only short-lived processes call them.
"""

import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from relay.base.clock import EARLIEST
from relay.base.ids import ServerName, host_of
from relay.cli.files import sync_folder, write_whole

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

FOLDER = "tls"
_STAMP = "renew-after"
# Boards without a battery-backed clock wake up in the past: a certificate must not be "not yet valid" then.
_VALID_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_CA_DAYS = 20 * 365
# Apple refuses leaves of a user's own CA that are valid for more than 825 days.
_LEAF_DAYS = 800
_RENEW_DAYS = 60


def make_own_ca(state: Path, name: ServerName, now: datetime.datetime) -> str:
    """Write a new authority and a leaf for `name` into the state folder; return the authority's fingerprint."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    from relay.uplink.acme.jose import make_key, render_key

    folder = state / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    key = make_key()
    subject = _subject(f"Doorstep own CA of {name}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_begin(now) + datetime.timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_whole(folder / "ca.key", render_key(key).encode("ascii"))
    write_whole(folder / "ca.pem", _pem(certificate), mode=0o644)
    _write_leaf(folder, name, now)
    sync_folder(state)
    return fingerprint(state)


def make_where_lacking(state: Path, name: ServerName) -> None:
    """Make an authority and a leaf if there is no leaf."""
    if not (state / FOLDER / "cert.pem").exists():
        make_own_ca(state, name, datetime.datetime.now(datetime.UTC))


def is_due(state: Path, now: datetime.datetime) -> bool:
    """Return whether the leaf of an own authority has to be looked at; costs one small file and no library."""
    folder = state / FOLDER
    if not (folder / "ca.pem").exists():
        return False
    try:
        return now >= datetime.datetime.fromisoformat((folder / _STAMP).read_text("ascii"))
    except (OSError, ValueError):
        return True


def renew_if_due(state: Path, name: ServerName, now: datetime.datetime) -> bool:
    """Sign a new leaf when the present one ends within 60 days or has lost its key; return whether that was done."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    folder = state / FOLDER
    leaf = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    lasts = leaf.not_valid_after_utc - _begin(now) > datetime.timedelta(days=_RENEW_DAYS)
    if lasts and key.public_key() == leaf.public_key():
        _write_stamp(folder, leaf)
        return False
    _write_leaf(folder, name, now)
    return True


def fingerprint(state: Path) -> str:
    """Return the SHA-256 fingerprint of the own authority: pairs of hex digits with colons between them."""
    import ssl

    der = ssl.PEM_cert_to_DER_cert((state / FOLDER / "ca.pem").read_text("ascii"))
    return hashlib.sha256(der).digest().hex(":").upper()


def _begin(now: datetime.datetime) -> datetime.datetime:
    return max(now, EARLIEST)


def _write_leaf(folder: Path, name: ServerName, now: datetime.datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    from relay.uplink.acme.hosts import alternative_names
    from relay.uplink.acme.jose import make_key, parse_key, render_key

    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    authority_key = parse_key((folder / "ca.key").read_text("ascii", "replace"))
    key = make_key()
    hosts = dict.fromkeys([host_of(name), "localhost", "127.0.0.1", "::1"])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_begin(now) + datetime.timedelta(days=_LEAF_DAYS))
        .add_extension(alternative_names(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_authority_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    # While the stamp is missing nobody relies on the pair: a power cut between the two leaves one that does not fit.
    (folder / _STAMP).unlink(missing_ok=True)
    write_whole(folder / "key.pem", render_key(key).encode("ascii"))
    write_whole(folder / "cert.pem", _pem(leaf) + _pem(authority), mode=0o644)
    _write_stamp(folder, leaf)


def _write_stamp(folder: Path, leaf: "x509.Certificate") -> None:
    due = leaf.not_valid_after_utc - datetime.timedelta(days=_RENEW_DAYS)
    write_whole(folder / _STAMP, due.isoformat().encode("ascii"))


def _authority_key(key: "EllipticCurvePublicKey") -> "x509.AuthorityKeyIdentifier":
    from cryptography import x509

    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _subject(text: str) -> "x509.Name":
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:64])])


def _ca_usage() -> "x509.KeyUsage":
    from cryptography import x509

    off = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **off)


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)
