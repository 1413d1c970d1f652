"""Networks that a setting names, and whether an address is of them, or of this machine alone."""

from __future__ import annotations

import dataclasses
import ipaddress

from relay.base.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class Networks:
    """A few networks; `address in networks` is false for what is no IP address."""

    each: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def __contains__(self, address: str) -> bool:
        if not self.each:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.each)

    def __bool__(self) -> bool:
        return bool(self.each)


def is_loopback(host: str) -> bool:
    """Return whether `host`, an address without brackets or a name, is this machine's own and nobody else's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def parse_networks(key: str, text: str) -> Networks:
    """Return the networks and addresses that `text` lists, divided by commas or spaces; `key` is the setting's name.

    Raises:
        ConfigError: one of them is none, or is everybody: whoever is named here is believed.
    """
    each = []
    for word in text.replace(",", " ").split():
        try:
            network = ipaddress.ip_network(word)
        except ValueError as error:
            raise ConfigError(f"{key}: {error}; write 10.0.0.1, 10.0.0.0/24 or fd00::/64") from None
        if not network.prefixlen:
            raise ConfigError(f"{key}: {word} is everybody, who would be believed whatever they say")
        each.append(network)
    return Networks(tuple(each))
