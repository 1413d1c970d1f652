"""Where a request goes: a host, a port, and the names the peer must prove and will read."""

import dataclasses
import ipaddress
from urllib.parse import urlsplit

from relay.base.errors import InvalidInputError


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """One place to connect to.

    Attributes:
        host: DNS name or IP address, without brackets.
        tls_name: the name or address its certificate must show; None for plain HTTP.
        host_header: what stands in `Host`.
    """

    host: str
    port: int
    tls_name: str | None
    host_header: str


def parse_url(url: str) -> tuple[Destination, str]:
    """Return (destination, path and query) of an http or https URL, for push gateways, bridges and redirects.

    Raises:
        InvalidInputError: it is no such URL, or it carries a user name.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInputError("this is not a URL") from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or not url.isascii():
        raise InvalidInputError("this is not an http or https URL")
    secure = parts.scheme == "https"
    shown = f"[{host}]" if ":" in host else host
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (
        Destination(
            host,
            port if port is not None else (443 if secure else 80),
            host if secure else None,
            shown if port is None else f"{shown}:{port}",
        ),
        target,
    )


def is_private(address: str) -> bool:
    """Return whether `address` (an IP address) is not of the public internet: private, loopback, link-local, special.

    Addresses that carry an IPv4 address inside (mapped, NAT64, 6to4, Teredo) are judged by that one too.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if not found.is_global or found.is_multicast:
        return True
    if isinstance(found, ipaddress.IPv4Address):
        return False
    inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
    if found in _NAT64:
        inner.append(ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF))
    return any(hidden is not None and is_private(str(hidden)) for hidden in inner)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
