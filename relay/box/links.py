"""How this machine would be reached, asked of the kernel's routing table alone: it costs nothing and no packet."""

import socket
from pathlib import Path

_INTERFACES = Path("/sys/class/net")
# An address of documentation (RFC 5737): a route to it is one to anywhere. A datagram socket connects without a packet.
_ANYWHERE = ("192.0.2.1", 9)


def own_address() -> str:
    """Return the IPv4 address this machine has towards the world, empty where it has no way there."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            datagram.connect(_ANYWHERE)
            return str(datagram.getsockname()[0])
    except OSError:
        return ""


def interface_names(folder: Path = _INTERFACES) -> list[str]:
    """Return the names of the interfaces that are hardware, as sysfs links them to their device."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if (entry / "device").exists())
    except OSError:
        return []
