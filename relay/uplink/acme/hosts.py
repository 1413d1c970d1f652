"""Host names and addresses as certificates and requests for them have them."""

import ipaddress
from collections.abc import Iterable

from cryptography import x509


def alternative_names(hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    """Return the extension that names `hosts` (RFC 5280, section 4.2.1.6)."""
    return x509.SubjectAlternativeName([_general_name(host) for host in hosts])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
