"""The settings for the box's name in the world: its certificate by ACME, its addresses in the DNS."""

import dataclasses
import ipaddress
import re

from relay.base.errors import ConfigError
from relay.base.ids import host_of
from relay.base.web_address import is_web_address

AUTHORITIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""Short words for directories."""

_INSIDE = frozenset(
    {"alt", "arpa", "corp", "example", "home", "internal", "intranet", "invalid", "lan", "local", "localhost", "onion"}
    | {"private", "test"}
)
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AcmeConfig:
    """Who certifies the box's name; off while `directory` is empty."""

    directory: str = ""
    """The authority's directory, as `https://acme-v02.api.letsencrypt.org/directory`."""
    terms_agreed: bool = False
    """Whether you agree to its terms of service: without that there is no account."""
    contact: str = ""
    """A mail address for it; not needed."""
    challenge: str = "tls-alpn-01"
    """`tls-alpn-01`: port 443 of the name reaches this box; `dns-01`: `[dns]` names a server and a key for it."""
    names: str = ""
    """Host names and addresses, divided by commas; empty: the server name's."""
    profile: str = ""
    """One of the authority's profiles, as `tlsserver` or `shortlived`; empty: its usual one."""
    eab_key_id: str = ""
    """The name of a key that an authority with accounts of its own gave you; empty: it wants none."""
    eab_key_file: str = ""
    """That key, as it was given: base64url. Relative to the state folder."""
    ca: str = ""
    """A private CA that the directory's own certificate is from; relative to the state folder."""

    def __post_init__(self) -> None:
        """Check what can be checked without the network."""
        if self.challenge not in ("tls-alpn-01", "dns-01"):
            raise ConfigError(f"acme.challenge is {self.challenge!r}; it may be tls-alpn-01 or dns-01")
        if self.directory and not is_web_address(self.directory, "https"):
            raise ConfigError(f"acme.directory is {self.directory!r}; it begins with https://")
        if self.contact and (self.contact.count("@") != 1 or not self.contact.isprintable() or " " in self.contact):
            raise ConfigError(f"acme.contact is {self.contact!r}; it is a mail address")
        if self.directory and bool(self.eab_key_id) != bool(self.eab_key_file):
            raise ConfigError("acme.eab_key_id and acme.eab_key_file belong together: set both, or none")
        for name in split_names(self.names):
            _check_name("acme.names", name)
            if self.challenge == "dns-01" and is_address(name):
                raise ConfigError(f"acme.names has {name}: addresses are certified by tls-alpn-01 only")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DnsConfig:
    """Who is told the box's addresses, and takes what proves to an authority that the name is ours."""

    method: str = "off"
    """`rfc2136`: a name server that takes signed updates; `dyndns2`: a provider with that protocol; `off`."""
    server: str = ""
    """HOST or HOST:PORT of the name server; `https://HOST/nic/update` of the provider."""
    name: str = ""
    """The name to keep; empty: the server name's."""
    user: str = ""
    """The user at the provider; the name of the key where `key_file` does not say it."""
    key_file: str = ""
    """What `tsig-keygen` writes, or the secret alone; the password at the provider. Relative to the state folder."""
    ttl: int = 300
    """Seconds for which others may remember an address."""
    ipv4: bool = True
    ipv6: bool = True

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.method not in ("off", "rfc2136", "dyndns2"):
            raise ConfigError(f"dns.method is {self.method!r}; it may be off, rfc2136 or dyndns2")
        if self.method == "dyndns2" and self.server and not is_web_address(self.server, "https"):
            raise ConfigError(f"dns.server is {self.server!r}; for dyndns2 it begins with https://")
        if self.name:
            _check_name("dns.name", self.name)
        if not 30 <= self.ttl <= 86_400:
            raise ConfigError(f"dns.ttl is {self.ttl}; it may be 30 to 86400")


def split_names(text: str) -> list[str]:
    """Return the names in a list divided by commas or spaces, in lower case."""
    return [name.lower().rstrip(".") for name in text.replace(",", " ").split()]


def names_or_host(text: str, server: str) -> list[str]:
    """Return the names in a list, or the host of the server name where it has none."""
    return split_names(text) or [host_of(server)]


def is_certified_in_public(server_name: str) -> bool:
    """Return whether a public authority certifies such a name: a host name in the DNS of the world.

    Names kept from it: RFC 6761 section 6, RFC 6762 appendix G, RFC 7686, RFC 8375, RFC 9476, and `internal` (ICANN).
    """
    host = split_names(server_name.partition(":")[0])
    labels = host[0].split(".") if host else []
    return (
        len(labels) > 1
        and not server_name.startswith("[")
        and not is_address(host[0])
        and not _INSIDE & set(labels[-1:])
    )


def is_address(name: str) -> bool:
    """Return whether `name` is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_name(key: str, name: str) -> None:
    if not is_address(name) and (len(name) > 253 or not _NAME.fullmatch(name.lower().rstrip("."))):
        raise ConfigError(f"{key} has {name!r}, which is no host name")
