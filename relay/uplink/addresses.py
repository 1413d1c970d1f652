"""Which addresses the world may know this box by, as far as its own interfaces tell.

Source: Linux, net/ipv6/addrconf.c (`if_inet6`) and include/uapi/linux/if_addr.h (flags).
"""

import ipaddress
from pathlib import Path
from typing import NamedTuple

from relay.box.links import own_address

_IPV6 = Path("/proc/self/net/if_inet6")
_GLOBAL_SCOPE = 0x00
_TEMPORARY, _FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
_UNFIT = _TEMPORARY | _FAILED | _DEPRECATED | _TENTATIVE


class Addresses(NamedTuple):
    """One address of each kind, empty where it is not known."""

    ipv4: str = ""
    ipv6: str = ""


def own_addresses() -> Addresses:
    """Return those of this machine's addresses that are public ones."""
    try:
        table = _IPV6.read_text("ascii", "replace")
    except OSError:
        table = ""
    return Addresses(public(own_address()), lasting_ipv6(table))


def public(address: str) -> str:
    """Return `address` if the world can reach it, else nothing."""
    try:
        return address if ipaddress.ip_address(address).is_global else ""
    except ValueError:
        return ""


def lasting_ipv6(table: str) -> str:
    """Return the public IPv6 address that lasts longest in the kernel's `table`, empty where there is none.

    Temporary ones (RFC 8981) change daily, and deprecated ones end: they are for going out, not for being found.
    """
    found = []
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 6:
            continue
        scope, flags = int(fields[3], 16), int(fields[4], 16)
        address = str(ipaddress.IPv6Address(bytes.fromhex(fields[0])))
        if scope == _GLOBAL_SCOPE and not flags & _UNFIT and public(address):
            found.append(address)
    # The order of the kernel's table changes; a name must not.
    return min(found, default="")
