"""Asks the routers of this machine to let ports through, for as long as it runs."""

import contextlib
import dataclasses
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

import trio

from relay.base.config_uplink import GATEWAY_PORT
from relay.base.log import get_logger
from relay.box.links import own_address
from relay.uplink import routes
from relay.uplink.addresses import own_addresses
from relay.uplink.leases import Leases, Wanted

log = get_logger()

_LOOK_AGAIN_S = 60.0
_MOST_DATAGRAM_BYTES = 1500


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """One router that may be asked: where it listens, and the address of ours that it would map to."""

    gateway: str
    port: int
    interface: str
    own_address: str


def find_ways() -> list[Way]:
    """Return the routers of this machine: of each family the best default route's, if we have an address to map."""
    found = []
    for gateway in routes.gateways_here():
        # Behind a NAT of IPv4 any address will do. Of IPv6 it is the one that the name has: nothing translates it.
        own = own_addresses().ipv6 if ":" in gateway.address else own_address()
        if own:
            found.append(Way(gateway.address, GATEWAY_PORT, gateway.interface, own))
    return found


def fixed_way(gateway: str, port: int) -> list[Way]:
    """Return the router at an address that somebody named, if there is a way to it."""
    own = own_address(gateway)
    return [Way(gateway, port, "", own)] if own else []


class PortMapper:
    """Keeps ports open at every router that `look` finds.

    Args:
        wanted: the ports.
        look: cheap; asked again every minute, because routers and addresses change.
    """

    def __init__(self, wanted: Sequence[Wanted], look: Callable[[], list[Way]] = find_ways) -> None:
        self._wanted = wanted
        self._look = look
        self._kept: dict[Way, Leases] = {}

    async def run(self) -> None:
        """Ask, renew, and follow changes until cancelled; then give everything back."""
        while True:
            ways = self._look()
            async with trio.open_nursery() as nursery:
                for way in ways:
                    nursery.start_soon(self._keep, way)
                await self._until_changed(ways)
                nursery.cancel_scope.cancel()

    def external_addresses(self) -> list[str]:
        """Return the addresses that the routers say we have outside, those of the public internet only."""
        found = [leases.external_address for leases in self._kept.values()]
        return [address for address in found if address and ipaddress.ip_address(address).is_global]

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what each router gave, by its address, as JSON values."""
        now_s = trio.current_time()
        return {
            way.gateway: {
                "protocol": leases.protocol,
                "silent": leases.silent,
                "external_address": leases.external_address,
                "doors": leases.mappings(now_s),
            }
            for way, leases in self._kept.items()
        }

    async def _until_changed(self, ways: list[Way]) -> None:
        # The kernel would tell by netlink, a family of sockets that the service otherwise does without.
        while True:
            await trio.sleep(_LOOK_AGAIN_S)
            if self._look() != ways:
                log.info("uplink.router_changed")
                return

    async def _keep(self, way: Way) -> None:
        try:
            asking = _open(way)
        except OSError as error:
            # The next change of the network, or of its routes, is another occasion.
            log.warning("uplink.router_unreachable", errno=error.errno)
            return
        leases = self._kept[way] = Leases(self._wanted, way.own_address, trio.current_time())
        try:
            while True:
                for packet in leases.send(trio.current_time()):
                    _send(asking, packet)
                with trio.move_on_at(leases.due_s):
                    await trio.lowlevel.wait_readable(asking)
                    # A router that listens to nothing says so (ICMP); it counts as one that is silent.
                    with contextlib.suppress(OSError):
                        leases.receive(asking.recv(_MOST_DATAGRAM_BYTES), trio.current_time())
        finally:
            del self._kept[way]
            for packet in leases.release(trio.current_time()):
                _send(asking, packet)
            asking.close()


def _open(way: Way) -> socket.socket:
    family = socket.AF_INET6 if ":" in way.gateway else socket.AF_INET
    asking = socket.socket(family, socket.SOCK_DGRAM)
    try:
        asking.setblocking(False)  # noqa: FBT003 - the library's own signature
        # Connected: packets of anybody else never arrive (RFC 6887, section 8.3).
        asking.connect(_place(asking, way))
    except BaseException:
        asking.close()
        raise
    return asking


def _place(asking: socket.socket, way: Way) -> tuple[Any, ...]:
    if asking.family == socket.AF_INET:
        return way.gateway, way.port
    # The router compares our address with the one in the packet, so it must not be the link's own.
    asking.bind((way.own_address, 0))
    scope = socket.if_nametoindex(way.interface) if way.interface and way.gateway.startswith("fe80") else 0
    return way.gateway, way.port, 0, scope


def _send(asking: socket.socket, packet: bytes) -> None:
    with contextlib.suppress(OSError):
        asking.send(packet)
