"""Announces the box on the networks at home: sockets and time around the responders of `relay.uplink.mdns`.

Source: RFC 6762, sections 3 (groups), 11 (hop limit 255), 15 (beside other responders of this machine).
"""

import contextlib
import dataclasses
import ipaddress
import secrets
import socket
import struct
from collections.abc import Callable, Collection, Sequence
from typing import Any

import trio

from relay.base.limits import MAX_MDNS_BYTES
from relay.base.log import get_logger
from relay.uplink.dns_message import DnsMessageError
from relay.uplink.interfaces import Interface
from relay.uplink.mdns import PORT, Address, Outgoing, Responder
from relay.uplink.zone import Names, Service

log = get_logger()

_GROUP4, _GROUP6 = "224.0.0.251", "ff02::fb"
_LOOK_AGAIN_S = 60.0
# Of <linux/in.h> and <linux/in6.h>: groups that another socket of this machine joined are not ours.
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29
_HOPS = 255


class Announcer:
    """Tells the neighbours of every interface that `look` returns; follows changes within a minute.

    Args:
        look: cheap; the interfaces with their addresses.
    """

    def __init__(
        self, names: Names, services: Sequence[Service], look: Callable[[], list[Interface]], *, port: int = PORT
    ) -> None:
        self._names = names
        self._services = services
        self._look = look
        self._port = port
        self._links: dict[str, _Link] = {}
        self._missing: set[str] = set()

    async def run(self) -> None:
        """Announce until cancelled; then say goodbye."""
        async with trio.open_nursery() as nursery:
            while True:
                self._follow(nursery)
                await trio.sleep(_LOOK_AGAIN_S)

    def status(self) -> dict[str, Any]:
        """Return under which names the box is found, and on which interfaces, as JSON values."""
        return {
            "host": b".".join(self._names.host).decode(),
            "instance": self._names.instance.decode(),
            "services": ", ".join(service.kind for service in self._services),
            "interfaces": {name: link.responder.established for name, link in sorted(self._links.items())},
            "without": ", ".join(sorted(self._missing)),
        }

    def _follow(self, nursery: trio.Nursery) -> None:
        found = {interface.name: interface for interface in self._look()}
        own = [address for interface in found.values() for address in interface.addresses]
        for name, link in list(self._links.items()):
            if name not in found or not _is_the_same(link.interface, found[name]):
                del self._links[name]
                link.scope.cancel()
        # Each of them is tried again below.
        self._missing.clear()
        for name, interface in found.items():
            if name in self._links:
                link = self._links[name]
                link.responder.set_addresses(interface.addresses, own, trio.current_time())
                link.wake()
            else:
                self._open(nursery, interface, own)

    def _open(self, nursery: trio.Nursery, interface: Interface, own: Collection[str]) -> None:
        sockets = _sockets(interface, self._port)
        if not sockets:
            self._missing.add(interface.name)
            return
        now_s = trio.current_time()
        responder = Responder(
            self._names, self._services, interface.addresses, now_s, draw=secrets.SystemRandom().random, own=own
        )
        link = self._links[interface.name] = _Link(interface, responder, sockets, self._wake_all)
        nursery.start_soon(link.run)

    def _wake_all(self) -> None:
        # A conflict on one interface changes the names on all.
        for link in self._links.values():
            link.wake()


def _is_the_same(before: Interface, now: Interface) -> bool:
    """Return whether sockets opened on an interface still do: it is that one, with addresses of the same families."""
    families = [(bool(each.ipv4), bool(each.ipv6)) for each in (before, now)]
    return before.index == now.index and families[0] == families[1]


@dataclasses.dataclass(slots=True)
class _Group:
    """One socket, the same one as Trio has it, and the group that it is a member of."""

    plain: socket.socket
    socket: trio.socket.SocketType
    place: tuple[Any, ...]


class _Link:
    """One interface: its responder and its sockets."""

    def __init__(
        self, interface: Interface, responder: Responder, groups: list[_Group], changed: Callable[[], None]
    ) -> None:
        self.interface = interface
        self.responder = responder
        self.scope = trio.CancelScope()
        self._groups = groups
        self._changed = changed
        self._news = trio.Event()

    def wake(self) -> None:
        """Let the responder look at the time: something changed."""
        self._news.set()

    async def run(self) -> None:
        """Speak and listen until cancelled."""
        with self.scope:
            try:
                async with trio.open_nursery() as nursery:
                    for group in self._groups:
                        nursery.start_soon(self._listen, group)
                    await self._speak()
            finally:
                self._say_goodbye()
                for group in self._groups:
                    group.socket.close()

    def _say_goodbye(self) -> None:
        """Take everything back that was said, without waiting: what the kernel does not take now goes by itself."""
        data = self.responder.goodbye()
        for group in self._groups if data else ():
            with contextlib.suppress(OSError):
                group.plain.sendto(data, group.place)

    async def _speak(self) -> None:
        while True:
            await self._send(self.responder.send(trio.current_time()))
            self._news = trio.Event()
            with trio.move_on_at(self.responder.due_s):
                await self._news.wait()

    async def _listen(self, group: _Group) -> None:
        while True:
            # What comes meanwhile waits with the kernel, which drops it when that is too much.
            if deaf_s := self.responder.deaf_for_s(trio.current_time()):
                await trio.sleep(deaf_s)
            try:
                data, source = await group.socket.recvfrom(MAX_MDNS_BYTES)
            except OSError:
                # The interface went away; the next look at them ends this.
                await trio.sleep(_LOOK_AGAIN_S)
                continue
            address: Address = (str(source[0]).partition("%")[0], int(source[1]))
            # What nobody could have sent by the rules, and what is no DNS at all, is not worth a line in the log.
            with contextlib.suppress(DnsMessageError):
                for outgoing in self.responder.receive(data, address, trio.current_time()):
                    await self._send_one(outgoing, group, source)
            self._changed()

    async def _send(self, outgoing: Sequence[Outgoing]) -> None:
        for datagram in outgoing:
            for group in self._groups:
                await _send_to(group.socket, datagram.data, group.place)

    async def _send_one(self, outgoing: Outgoing, group: _Group, source: Any) -> None:  # noqa: ANN401 - as received
        if outgoing.to is None:
            await self._send([outgoing])
        else:
            await _send_to(group.socket, outgoing.data, source)


async def _send_to(sender: trio.socket.SocketType, data: bytes, place: tuple[Any, ...]) -> None:
    with contextlib.suppress(OSError):
        await sender.sendto(data, place)


def _sockets(interface: Interface, port: int) -> list[_Group]:
    found = []
    for family, wanted in ((socket.AF_INET, bool(interface.ipv4)), (socket.AF_INET6, bool(interface.ipv6))):
        if wanted:
            try:
                found.append(_member(family, interface, port))
            except OSError as error:
                log.info("uplink.group_refused", errno=error.errno)
    return found


def _member(family: socket.AddressFamily, interface: Interface, port: int) -> _Group:
    """Return a socket that is in the group on one interface, and hears that group there only."""
    place: tuple[Any, ...] = (_GROUP4, port) if family == socket.AF_INET else (_GROUP6, port, 0, interface.index)
    member = socket.socket(family, socket.SOCK_DGRAM)
    try:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            member.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET:
            request = struct.pack("=4s4si", socket.inet_aton(_GROUP4), bytes(4), interface.index)
            member.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            for option, value in ((socket.IP_MULTICAST_TTL, _HOPS), (socket.IP_TTL, _HOPS), (_IP_MULTICAST_ALL, 0)):
                member.setsockopt(socket.IPPROTO_IP, option, value)
        else:
            group = ipaddress.IPv6Address(_GROUP6).packed
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface.index)
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("=i", interface.index))
            for option, value in (
                (socket.IPV6_MULTICAST_HOPS, _HOPS),
                (socket.IPV6_UNICAST_HOPS, _HOPS),
                (_IPV6_MULTICAST_ALL, 0),
            ):
                member.setsockopt(socket.IPPROTO_IPV6, option, value)
        # To the group's address: datagrams for this machine alone stay with whoever else has the port.
        member.bind(place)
    except BaseException:
        member.close()
        raise
    return _Group(member, trio.socket.from_stdlib_socket(member), place)
