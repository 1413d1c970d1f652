"""Whether the world finds the box: what `relay doctor` concludes from names, routers and whoever answers outside."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

from relay.admin.operations import Finding
from relay.base.config import ClientConfig, Config, FederationConfig
from relay.base.config_names import is_address
from relay.base.errors import InvalidInputError, UnreachableError
from relay.base.ids import ServerName, host_of, split_server_name
from relay.transport.destination import Destination, is_private, parse_url

_MOST_PLACES = 3
_APPS_PORT = 443


class NoNamesError(UnreachableError):
    """No name server answers, so nothing is known of any name."""

    code = "peer.no_names"


@dataclasses.dataclass(frozen=True, slots=True)
class Met:
    """Who answered: the server's own name, empty where it has none to tell, and the certificate it showed (DER)."""

    server: str
    certificate: bytes


class Outside(Protocol):
    """What can be asked of the world."""

    async def addresses(self, host: str) -> list[str]:
        """Return the IP addresses of a name; none if there is no such name.

        Raises:
            NoNamesError: nobody knows.
        """
        ...

    async def places(self, server: ServerName) -> tuple[ServerName | None, list[Destination]]:
        """Return what `.well-known` says of a server, None for nothing, and where other servers would ask it."""
        ...

    async def meet(self, place: Destination, path: str) -> Met:
        """Ask for `path` there; any certificate will do.

        Raises:
            UnreachableError: nobody answers.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the box knows of itself.

    Attributes:
        certificates: those its listeners may show (DER); none where a proxy ends TLS.
        outside: its addresses as its routers told.
        ipv6_only: whether this machine's only way out is IPv6.
    """

    config: Config
    certificates: frozenset[bytes] = frozenset()
    outside: Sequence[str] = ()
    ipv6_only: bool = False


async def look_from_outside(box: Known, outside: Outside) -> AsyncIterator[Finding]:
    """Yield what is wrong with the way from the world to `box`, as it becomes known."""
    server = box.config.server.name
    host = host_of(server)
    if box.ipv6_only:
        what = "uplink.ipv6_only: this line has IPv6 only: servers and apps without it do not reach the box"
        yield Finding("note", what, "a tunnel to a machine that has both brings the others in: hw/tunnel.md")
    if not is_address(host):
        try:
            addresses = await outside.addresses(host)
        except NoNamesError:
            what = "uplink.no_dns: no name server answers: no other server can be found from here"
            step = "look at the line and at DNS on the router (network, at the console); the box goes on trying"
            yield Finding("warning", what, step)
            return
        for finding in _judge_addresses(box, host, addresses):
            yield finding
        if _is_inside(box, addresses):
            # Nobody connects there for a stranger's sake, and it would not tell how it looks from elsewhere.
            return
    delegate, places = await outside.places(server)
    for finding in await _look_for_servers(box, outside, delegate, places):
        yield finding
    async for finding in _look_for_apps(box, outside):
        yield finding


def _judge_addresses(box: Known, host: str, addresses: list[str]) -> Iterator[Finding]:
    shown = ", ".join(addresses)
    if not addresses:
        what = f"uplink.name_unknown: {host} has no address in DNS: nobody finds the box"
        yield Finding(
            "warning", what, "make the record at who runs the name, or let the box keep it: [dns] in relay.toml"
        )
    elif _is_inside(box, addresses):
        what = f"uplink.private_name: {host} leads to {shown} here: how others find the box is not seen from inside"
        step = "if DNS says that to everybody, put the router's address there, or that of the machine in front"
        yield Finding("note", what, step)
    elif box.outside and not _is_helped(box.config.federation) and not set(box.outside) & set(addresses):
        what = f"uplink.other_address: {host} leads to {shown}, the router's address is {', '.join(box.outside)}"
        yield Finding("warning", what, "correct the DNS record, or let the box keep it up to date: [dns] in relay.toml")


def _is_inside(box: Known, addresses: list[str]) -> bool:
    return bool(addresses) and all(map(is_private, addresses)) and not box.config.federation.allow_private_peers


async def _look_for_servers(
    box: Known, outside: Outside, delegate: ServerName | None, places: list[Destination]
) -> list[Finding]:
    """Return why other servers would not reach the box, from the first place of several that answers."""
    fault: Finding | None = None
    for place in places[:_MOST_PLACES]:
        try:
            met = await outside.meet(place, "/_matrix/key/v2/server")
        except UnreachableError as error:
            fault = fault or _not_reached(box.config.federation, "servers", _show(place), str(error))
            continue
        fault = _judge_met(box, _show(place), met)
        break
    if fault is None:
        return []
    if delegate is None:
        return [fault]
    what = f"uplink.delegation: .well-known of {box.config.server.name} sends servers to {delegate}: {fault.what}"
    return [Finding(fault.level, what, f"correct m.server there if it is wrong; else {fault.next_step}")]


def _judge_met(box: Known, place: str, met: Met) -> Finding | None:
    if met.server != box.config.server.name:
        name = met.server or "no Matrix server"
        what = f"uplink.somebody_else: {place}, where servers look for the box, is {name}"
        return Finding("warning", what, "correct DNS, .well-known or the port forwarding: they lead to another machine")
    if box.certificates and met.certificate not in box.certificates:
        what = f"uplink.other_certificate: {place} shows a certificate that is not the box's"
        return Finding("note", what, "if a proxy ends TLS there, set federation.tls=false and federation.behind_proxy")
    return None


async def _look_for_apps(box: Known, outside: Outside) -> AsyncIterator[Finding]:
    place = _place_of_apps(box.config)
    if place is None:
        return
    try:
        met = await outside.meet(place, "/_matrix/client/versions")
    except UnreachableError as error:
        yield _not_reached(box.config.client, "apps", _show(place), str(error))
        return
    if box.certificates and met.certificate not in box.certificates and not box.config.client.behind_proxy:
        what = f"uplink.other_certificate: {_show(place)}, where apps look for the box, shows one that is not the box's"
        yield Finding("note", what, "correct DNS or the port forwarding, or name the proxy in client.behind_proxy")


def _place_of_apps(config: Config) -> Destination | None:
    """Return where apps elsewhere look for the box, None where nobody promised them anything."""
    host, port = split_server_name(config.server.name)
    if config.client.public_url:
        with contextlib.suppress(InvalidInputError):
            return parse_url(config.client.public_url)[0]
    if not config.client.tls or port is not None:
        return None
    bare = host_of(config.server.name)
    return Destination(bare, _APPS_PORT, bare, host)


def _is_helped(door: FederationConfig | ClientConfig) -> bool:
    """Return whether somebody stands in front of a door: a proxy, or the other end of a tunnel."""
    return bool(door.proxy_from or door.behind_proxy)


def _not_reached(door: FederationConfig | ClientConfig, who: str, place: str, words: str) -> Finding:
    what = f"uplink.not_reached: the box does not reach itself at {place}, where {who} look for it: {words}"
    if _is_helped(door):
        step = "look at the tunnel (systemctl status relay-tunnel) and at the machine in front of the box: hw/tunnel.md"
        return Finding("warning", what, step)
    step = "forward the port on the router; some let nobody in from inside (hairpin): then ask from a mobile line"
    return Finding("note", what, step)


def _show(place: Destination) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.port}"
