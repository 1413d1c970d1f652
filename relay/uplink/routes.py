"""The gateways of this machine, from the kernel's routing tables as text.

Source: Linux, net/ipv4/fib_trie.c (`route`: addresses are in the byte order of the machine) and net/ipv6/route.c
(`ipv6_route`).
"""

import dataclasses
import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path

from relay.uplink.addresses import read_table

_IPV4, _IPV6 = Path("/proc/self/net/route"), Path("/proc/self/net/ipv6_route")
_UP, _GATEWAY, _REJECT = 0x1, 0x2, 0x200


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Gateway:
    """Where packets for anywhere go first: an IP address and, for a link-local one, the interface it is on."""

    address: str
    interface: str = ""


def gateways_here() -> list[Gateway]:
    """Return the best default gateway of each family as this machine has it now."""
    return gateways(read_table(_IPV4), read_table(_IPV6))


def gateways(ipv4_table: str, ipv6_table: str) -> list[Gateway]:
    """Return the best default gateway of each family that has one, IPv4 first."""
    return [min(found)[1] for found in (list(_ipv4(ipv4_table)), list(_ipv6(ipv6_table))) if found]


def _ipv4(table: str) -> Iterator[tuple[int, Gateway]]:
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[1] != "00000000" or fields[7] != "00000000":
            continue
        if int(fields[3], 16) & (_UP | _GATEWAY | _REJECT) == _UP | _GATEWAY:
            address = int(fields[2], 16).to_bytes(4, sys.byteorder)
            yield int(fields[6]), Gateway(str(ipaddress.IPv4Address(address)), fields[0])


def _ipv6(table: str) -> Iterator[tuple[int, Gateway]]:
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[0].strip("0") or fields[1] != "00":
            continue
        if int(fields[8], 16) & (_UP | _GATEWAY | _REJECT) == _UP | _GATEWAY:
            address = ipaddress.IPv6Address(int(fields[4], 16))
            yield int(fields[5], 16), Gateway(str(address), fields[9])
