"""The settings about how the world finds the box."""

import dataclasses
import ipaddress
import re

from relay.base.errors import ConfigError

# Of NAT-PMP and PCP (RFC 6886, section 3; RFC 6887, section 19.1).
GATEWAY_PORT = 5351
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UplinkConfig:
    """What the box does to be found, at home and from outside."""

    announce: bool = False
    """Whether programs at home find it by multicast DNS; on where an appliance is set up."""
    host: str = ""
    """Its name there, without `.local`; empty: the machine's own."""
    interfaces: str = ""
    """Where it is announced, divided by commas; empty: on every network that has neighbours."""
    map_ports: str = "off"
    """`auto`: the router is asked to let 443 and the federation port through; `off`: it is left alone."""
    gateway: str = ""
    """The router's address, where the routing table does not name it; `ADDRESS` or `ADDRESS:PORT`."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.host and not _LABEL.fullmatch(self.host):
            raise ConfigError(f"uplink.host is {self.host!r}; it may hold letters, digits and dashes, no dot")
        if self.map_ports not in ("off", "auto"):
            raise ConfigError(f"uplink.map_ports is {self.map_ports!r}; it may be off or auto")
        if self.gateway:
            split_gateway(self.gateway)


def split_gateway(text: str) -> tuple[str, int]:
    """Return (address, port) of a router: an IP address, alone or with a port after a colon.

    Raises:
        ConfigError: it is neither.
    """
    host, _, number = text.rpartition(":")
    for address, port in ((text, str(GATEWAY_PORT)), (host.removeprefix("[").removesuffix("]"), number)):
        try:
            return str(ipaddress.ip_address(address)), _port(port)
        except ValueError:
            continue
    raise ConfigError(f"uplink.gateway is {text!r}; it is the router's address, such as 192.168.1.1")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        raise ValueError
    return int(text)
