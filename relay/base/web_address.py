"""Addresses of web servers, as settings name them."""

from urllib.parse import urlsplit


def is_web_address(url: str, *schemes: str) -> bool:
    """Return whether `url` is well-formed, names a host, and begins with one of `schemes`."""
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
