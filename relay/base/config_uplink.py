"""The settings about how the world finds the box."""

import dataclasses
import re

from relay.base.errors import ConfigError

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UplinkConfig:
    """What the box does to be found, at home and from outside."""

    announce: bool = False
    """Whether programs at home find it by multicast DNS; on where an appliance is set up."""
    host: str = ""
    """Its name there, without `.local`; empty: the machine's own."""
    map_ports: str = "off"
    """`auto`: the router is asked to let 443 and the federation port through; `off`: it is left alone."""
    gateway: str = ""
    """The router's address, where the routing table names another or a wrong one."""

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.host and not _LABEL.fullmatch(self.host):
            raise ConfigError(f"uplink.host is {self.host!r}; it may hold letters, digits and dashes, no dot")
        if self.map_ports not in ("off", "auto"):
            raise ConfigError(f"uplink.map_ports is {self.map_ports!r}; it may be off or auto")
