"""What a running house does to be found: only what its settings name is started, and loaded at all."""

import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from relay.admin.operations import Finding
from relay.app.health import Watcher
from relay.app.house import House
from relay.base.config import split_address
from relay.base.config_uplink import split_gateway
from relay.base.ids import split_server_name
from relay.base.networks import is_loopback

if TYPE_CHECKING:
    from relay.uplink.announcer import Announcer
    from relay.uplink.port_mapper import PortMapper

_FEDERATION_PORT, _CLIENT_PORT = 8448, 443
_BY_HAND = (
    "forward TCP 443 and the federation port to the box on the router's own pages, or use a tunnel (hw/tunnel.md)"
)


@contextlib.asynccontextmanager
async def reaching_out(house: House, listening: Mapping[str, str]) -> AsyncIterator[Sequence[Watcher]]:
    """Let the world find `house`, whose doors are open at the addresses `listening`; on leaving, say goodbye."""
    settings, watchers = house.config.uplink, list[Watcher]()
    async with trio.open_nursery() as nursery:
        if settings.announce:
            announcer = _announcer(house, listening)
            nursery.start_soon(announcer.run)
            watchers.append(partial(_watch_announcer, announcer))
        mapper = _mapper(house, listening) if settings.map_ports == "auto" else None
        if mapper is not None:
            nursery.start_soon(mapper.run)
            watchers.append(partial(_watch_mapper, mapper))
        if house.config.dns.method != "off":
            from relay.app.naming import name_follower, watch_name

            follower = name_follower(house, mapper.external_addresses if mapper is not None else list)
            nursery.start_soon(follower.run)
            watchers.append(partial(watch_name, house, follower))
        yield watchers
        nursery.cancel_scope.cancel()


def _announcer(house: House, listening: Mapping[str, str]) -> "Announcer":
    from relay.uplink.announcer import Announcer
    from relay.uplink.interfaces import interfaces
    from relay.uplink.zone import Names, Service

    settings = house.config.uplink
    only = settings.interfaces.replace(",", " ").split()
    ports = _open_ports(listening, inside_too="lo" in only)
    services = []
    if "client" in ports:
        url = house.config.client.public_url
        about = ("txtvers=1", f"server={house.server}", *([f"url={url}"] if url else []))
        services.append(Service("_doorstep", ports["client"], about))
    if "federation" in ports:
        # Server-Server API v1.19, Resolving server names: the first is the name registered with IANA (MSC4040), the
        # second is deprecated and what older servers look for.
        about = ("txtvers=1", f"server={house.server}")
        services += [Service(kind, ports["federation"], about) for kind in ("_matrix-fed", "_matrix")]
    host = settings.host or socket.gethostname().partition(".")[0] or "doorstep"
    # A dot within an instance name is allowed, and yet not understood by every resolver: no server name here.
    return Announcer(Names(host, f"Doorstep {host}"), services, partial(interfaces, only))


def _watch_announcer(announcer: "Announcer") -> tuple[dict[str, Any], list[Finding]]:
    status = announcer.status()
    return {"announced": status}, list(find_in_announcement(status))


def find_in_announcement(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Return why programs at home would not find the box, from the status of its announcer."""
    if not status["interfaces"]:
        what = "no network at home to announce the box on"
        yield Finding("note", what, "plug the cable in or join a Wi-Fi network: network, and wifi scan, at the console")
    elif not status["services"]:
        what = "the box is announced at home by name only: its doors are open to this machine alone"
        yield Finding("note", what, "set client.listen and federation.listen to [::]:PORT, or uplink.announce=false")
    if status["without"]:
        what = f"multicast DNS is refused on {status['without']}"
        yield Finding("note", what, "look whether another program holds UDP port 5353 for itself alone")


def _mapper(house: House, listening: Mapping[str, str]) -> "PortMapper":
    from relay.uplink.leases import Wanted
    from relay.uplink.port_mapper import PortMapper, find_ways, fixed_way

    gateway = house.config.uplink.gateway
    look = partial(fixed_way, *split_gateway(gateway)) if gateway else find_ways
    beside = gateway != "" and is_loopback(split_gateway(gateway)[0])
    ports = _open_ports(listening, inside_too=beside)
    outside = {
        "client": _CLIENT_PORT if house.config.client.tls else None,
        "federation": split_server_name(house.server)[1] or _FEDERATION_PORT,
    }
    wanted = [Wanted(name, ports[name], port) for name, port in outside.items() if port and name in ports]
    return PortMapper(wanted, look)


def _watch_mapper(mapper: "PortMapper") -> tuple[dict[str, Any], list[Finding]]:
    status = mapper.status()
    return {"routers": status}, list(find_in_mappings(status))


def find_in_mappings(routers: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Return why the world would not reach the box through its routers, from the status of its port mapper."""
    if not routers:
        yield Finding(
            "warning",
            "uplink.no_router: this machine has no way to the internet",
            "look at cable, Wi-Fi and the router: network, at the console",
        )
    for address, router in routers.items():
        yield from _find_at(address, router)


def _find_at(address: str, router: Mapping[str, Any]) -> Iterator[Finding]:
    outside = router["external_address"]
    if router["silent"]:
        what = f"uplink.no_mapping: the router {address} answers neither PCP nor NAT-PMP: it opens no port by itself"
        yield Finding("warning", what, f"allow NAT-PMP or PCP on the router; or {_BY_HAND}")
    if outside and not ipaddress.ip_address(outside).is_global:
        kind = "CGNAT" if ipaddress.ip_address(outside) in _CGNAT else "a second router"
        what = f"uplink.not_public: the router's own address {outside} is not of the internet: {kind} is in front of it"
        step = "ask the provider for a public address, or let the first router pass everything on; else use a tunnel"
        yield Finding("warning", what, f"{step} (hw/tunnel.md)")
    for name, door in router["doors"].items():
        if door["fault"]:
            what = f"uplink.mapping_refused: the router {address} refuses the port of the {name} door: {door['fault']}"
            yield Finding("warning", what, _BY_HAND)
        elif door["port"] not in (0, door["wanted_port"]):
            what = f"uplink.other_port: the router gave the {name} door port {door['port']}, not {door['wanted_port']}"
            yield Finding(
                "warning", what, "end who has that port at the router, or name this one in .well-known or DNS"
            )


_CGNAT = ipaddress.ip_network("100.64.0.0/10")


def _open_ports(listening: Mapping[str, str], *, inside_too: bool) -> dict[str, int]:
    """Return the ports of the doors that others than this machine reach."""
    found = {}
    for name, url in listening.items():
        host, port = split_address(url.rpartition("/")[2])
        if inside_too or not is_loopback(host):
            found[name] = port
    return found
