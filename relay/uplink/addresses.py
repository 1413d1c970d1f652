"""Which addresses this machine has, and which of them the world may know it by.

Source: Linux, net/ipv6/addrconf.c (`if_inet6`) and include/uapi/linux/if_addr.h (flags). A service sees no more of
`/proc` than its own folder, which has the tables of its network.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from relay.box.links import own_address

_IPV6 = Path("/proc/self/net/if_inet6")
_TEMPORARY, _FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40


class Addresses(NamedTuple):
    """One address of each kind, empty where it is not known."""

    ipv4: str = ""
    ipv6: str = ""


def own_addresses() -> Addresses:
    """Return those of this machine's addresses that are public ones."""
    return Addresses(public(own_address()), lasting_ipv6(ipv6_table()))


def public(address: str) -> str:
    """Return `address` if the world can reach it, else nothing."""
    try:
        return address if ipaddress.ip_address(address).is_global else ""
    except ValueError:
        return ""


def lasting_ipv6(table: str) -> str:
    """Return the public IPv6 address that lasts longest in the kernel's `table`, empty where there is none.

    Temporary ones (RFC 8981) change daily: they are for going out, not for being found.
    """
    found = [each.address for each in parse_ipv6(table) if not each.temporary and public(each.address)]
    # The order of the kernel's table changes; a name must not.
    return min(found, default="")


class Ipv6Address(NamedTuple):
    """One address of one interface."""

    interface: str
    address: str
    temporary: bool


def parse_ipv6(table: str) -> Iterator[Ipv6Address]:
    """Yield the addresses in the kernel's `table` that are ours by now, and for longer."""
    for line in table.splitlines():
        fields = line.split()
        if len(fields) == 6 and not (flags := int(fields[4], 16)) & (_FAILED | _DEPRECATED | _TENTATIVE):
            address = str(ipaddress.IPv6Address(int(fields[0], 16)))
            yield Ipv6Address(fields[5], address, bool(flags & _TEMPORARY))


def ipv6_table() -> str:
    """Return the kernel's table of IPv6 addresses."""
    return read_table(_IPV6)


def read_table(path: Path) -> str:
    """Return one of the kernel's tables, empty where it has none of that kind."""
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
