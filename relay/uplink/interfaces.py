"""The network interfaces of this machine and their addresses, without netlink: two files of the kernel, and ioctl.

Source: Linux, include/uapi/linux/sockios.h, include/uapi/linux/if.h.
"""

import dataclasses
import fcntl
import socket
import struct
from collections.abc import Collection
from pathlib import Path

from relay.uplink.addresses import ipv6_table, parse_ipv6, read_table

_NAMES = Path("/proc/self/net/dev")
_GET_FLAGS, _GET_ADDRESS = 0x8913, 0x8915
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING, _MULTICAST = 0x1, 0x8, 0x10, 0x40, 0x1000
_NAME_BYTES = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """One interface that is up, and its addresses: at most one IPv4, any number of IPv6."""

    name: str
    index: int
    ipv4: str
    ipv6: tuple[str, ...]

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them."""
        return (*([self.ipv4] if self.ipv4 else []), *self.ipv6)


def interfaces(only: Collection[str] = ()) -> list[Interface]:
    """Return the interfaces that neighbours can be reached on by multicast; those of `only`, if it names any."""
    ipv6 = _ipv6_addresses(ipv6_table())
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for name in _interface_names(read_table(_NAMES)):
            try:
                flags = struct.unpack_from("<H", _ask(asked, _GET_FLAGS, name))[0]
                wanted = name in only if only else _is_for_neighbours(flags)
                if wanted and flags & _UP:
                    index = socket.if_nametoindex(name)
                    found.append(Interface(name, index, _ipv4_address(asked, name), ipv6.get(name, ())))
            except OSError:
                # It is gone already.
                continue
    return [interface for interface in found if interface.addresses]


def _is_for_neighbours(flags: int) -> bool:
    return flags & (_UP | _RUNNING | _MULTICAST | _LOOPBACK | _POINT_TO_POINT) == _UP | _RUNNING | _MULTICAST


def _interface_names(table: str) -> list[str]:
    return [line.partition(":")[0].strip() for line in table.splitlines()[2:] if ":" in line]


def _ask(asked: socket.socket, question: int, name: str) -> bytes:
    """Return the answer to an interface request: what follows the name in `struct ifreq`."""
    return fcntl.ioctl(asked, question, struct.pack("16s24x", name.encode()[: _NAME_BYTES - 1]))[_NAME_BYTES:]


def _ipv4_address(asked: socket.socket, name: str) -> str:
    try:
        return socket.inet_ntoa(_ask(asked, _GET_ADDRESS, name)[4:8])
    except OSError:
        return ""


def _ipv6_addresses(table: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for each in parse_ipv6(table):
        found[each.interface] = (*found.get(each.interface, ()), each.address)
    return found
