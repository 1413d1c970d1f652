"""How this machine would be reached, asked of the kernel's routing table alone: it costs nothing and no packet."""

import socket
from pathlib import Path

_INTERFACES = Path("/sys/class/net")
# An address of documentation (RFC 5737): a route to it is one to anywhere.
_ANYWHERE = "192.0.2.1"


def own_address(towards: str = _ANYWHERE) -> str:
    """Return the address this machine has on the way to another, the world's by IPv4 as a rule; empty without a way."""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as datagram:
            # A datagram socket connects without a packet.
            datagram.connect((towards, 9))
            return str(datagram.getsockname()[0])
    except OSError:
        return ""


def interface_names(folder: Path = _INTERFACES) -> list[str]:
    """Return the names of the interfaces that are hardware, as sysfs links them to their device."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if (entry / "device").exists())
    except OSError:
        return []
