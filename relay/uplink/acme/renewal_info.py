"""When to renew: what the authority suggests (ARI), else at two thirds of the certificate's life.

Source: RFC 9773, 4.1 (certificate identifiers), 4.2 (renewal information), 4.3 (when to ask again).
"""

import datetime
from collections.abc import Callable
from typing import Any, NamedTuple

from cryptography import x509

from relay.uplink.acme.jose import encode
from relay.uplink.acme.problems import AcmeError

_SHARE = 2 / 3


class Window(NamedTuple):
    """The time in which the authority would like the renewal, in seconds since 1970."""

    start_s: float
    end_s: float


class Life(NamedTuple):
    """What matters of a certificate: seconds since 1970, its ARI identifier (empty: none), its names."""

    begins_s: float
    ends_s: float
    identifier: str
    names: frozenset[str]


def read_life(chain: bytes) -> Life:
    """Return what matters of the first certificate in `chain` (PEM).

    Raises:
        ValueError: there is none.
    """
    leaf = x509.load_pem_x509_certificate(chain)
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        names = []
    begins_s, ends_s = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Life(begins_s, ends_s, certificate_identifier(leaf), frozenset(names))


def certificate_identifier(leaf: x509.Certificate) -> str:
    """Return how ARI names `leaf`, empty where the issuer's key identifier is missing."""
    try:
        issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    number = leaf.serial_number
    # The contents of a DER integer: the sign takes a bit.
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{encode(issuer)}.{encode(serial)}" if issuer else ""


def parse_window(info: dict[str, Any]) -> Window:
    """Return the window in a renewal information object.

    Raises:
        AcmeError: there is none, or it ends before it begins.
    """
    window = info.get("suggestedWindow")
    fields = window if isinstance(window, dict) else {}
    try:
        start_s, end_s = (_moment_s(str(fields[name])) for name in ("start", "end"))
    except (KeyError, ValueError):
        raise AcmeError("malformed", "the renewal information has no window") from None
    if end_s <= start_s:
        raise AcmeError("malformed", "the renewal information's window ends before it begins")
    return Window(start_s, end_s)


def choose(window: Window, draw: Callable[[int], int]) -> float:
    """Return a random moment of the window (`draw(n)` gives 0 to n-1), so that not all come at once."""
    return window.start_s + draw(max(1, int(window.end_s - window.start_s)))


def usual_moment(life: Life) -> float:
    """Return when to renew a certificate that nobody suggests anything for."""
    return life.begins_s + (life.ends_s - life.begins_s) * _SHARE


def _moment_s(text: str) -> float:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("without a time zone")
    return moment.timestamp()
