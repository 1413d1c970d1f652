"""The world as `relay doctor` asks it: name servers, `.well-known`, and whoever answers at the box's public name.

Nothing of this runs in the background. It runs in the process of the command, against the running box, and takes 5 s at
most; what is not known by then is said.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Self

import trio

from relay.admin.client import NotRunningError, ask
from relay.admin.operations import Finding
from relay.base.clock import SystemClock, system_knows_time
from relay.base.config import Config, load
from relay.base.errors import ConfigError, RelayError
from relay.base.ids import ServerName, split_server_name
from relay.cli.reachability import Known, Met, NoNamesError, look_from_outside
from relay.transport.client import HttpClient
from relay.transport.destination import Destination
from relay.transport.dialing import TcpDialer
from relay.transport.discovery import Discovery
from relay.transport.names import DnsResolver
from relay.transport.tls import client_context
from relay.transport.well_known import WellKnown
from relay.uplink import routes

WITHIN_S = 5.0
# Of the listeners: what the box signed for itself, what an authority gave it.
_CERTIFICATES = ("tls/cert.pem", "tls/acme/current.pem")
_DIAL_S = 3.0
_ANSWER_BYTES = 64 * 1024
# What getaddrinfo says of a name that does not exist, or exists without addresses.
_UNKNOWN = frozenset((socket.EAI_NONAME, socket.EAI_NODATA))


def find_outside(folder: Path) -> list[Finding]:
    """Return what keeps the world from the box of `folder`, if it serves: one that does not has other worries."""
    try:
        status, config = ask(folder, {"verb": "status"}), load(folder)
    except (NotRunningError, ConfigError):
        return []
    if not status["running"]:
        return []
    routers = status.get("routers", {}).values()
    outside = [router["external_address"] for router in routers if router["external_address"]]
    return find_on_the_network(folder, config, outside)


def find_on_the_network(folder: Path, config: Config, outside: Sequence[str]) -> list[Finding]:
    """Return what keeps the world from finding the running box; `outside` are its addresses as its routers told."""
    if not system_knows_time():
        what = "uplink.clock: whether others find the box is not looked at: the clock is not set"
        return [Finding("note", what, "set the clock: time set, in UTC; then ask again")]

    async def look() -> list[Finding]:
        found: list[Finding] = []
        with trio.move_on_after(WITHIN_S) as patience:
            async with Internet.open(folder, config) as internet:
                known = Known(
                    config=config,
                    certificates=own_certificates(folder, config),
                    outside=outside,
                    ipv6_only=ways_out() == {6},
                )
                async for finding in look_from_outside(known, internet):
                    found.append(finding)
        if patience.cancelled_caught:
            what = f"uplink.slow: names and networks were not all asked within {WITHIN_S:g} s"
            found.append(Finding("note", what, "try again; if it stays so, look at the line and at DNS on the router"))
        return found

    try:
        return trio.run(look)
    except ConfigError as error:
        return [Finding("fault", str(error), "bring the file back, or correct tls.ca: the next start needs it")]


def own_certificates(folder: Path, config: Config) -> frozenset[bytes]:
    """Return the certificates that the listeners may show, none where they do not speak TLS."""
    end = "-----END CERTIFICATE-----"
    found = set()
    for name in [config.tls.cert] if config.tls.cert else _CERTIFICATES if config.federation.tls else ():
        with contextlib.suppress(OSError, ValueError):
            first = (folder / name).read_text("ascii", "replace").partition(end)[0] + end
            found.add(ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN CERTIFICATE-----") :]))
    return frozenset(found) if config.federation.tls else frozenset()


class Internet:
    """`relay.cli.reachability.Outside` by way of this machine's own network."""

    def __init__(self, config: Config, checking: HttpClient, believing: _Believing) -> None:
        self._well_known = WellKnown(checking, SystemClock())
        self._discovery = Discovery(checking, DnsResolver(), SystemClock())
        self._believing = believing

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, folder: Path, config: Config) -> AsyncIterator[Self]:
        """Let it ask, in tasks that end with the block."""
        allow = config.federation.allow_private_peers
        trusted = client_context(folder / config.tls.ca if config.tls.ca else None)
        checking = HttpClient(TcpDialer(trusted, allow_private=allow, timeout_s=_DIAL_S))
        believing = _Believing(allow_private=allow)
        async with trio.open_nursery() as nursery:
            await nursery.start(checking.run)
            await nursery.start(believing.client.run)
            yield cls(config, checking, believing)
            nursery.cancel_scope.cancel()

    async def addresses(self, host: str) -> list[str]:
        """Return the IP addresses of a name; see `Outside.addresses`."""
        try:
            found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in _UNKNOWN:
                return []
            raise NoNamesError("no name server answers") from None
        except UnicodeError:
            return []
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    async def places(self, server: ServerName) -> tuple[ServerName | None, list[Destination]]:
        """Return what `.well-known` says, and where servers would ask; see `Outside.places`."""
        host, port = split_server_name(server)
        delegate = None
        with contextlib.suppress(RelayError):
            # An explicit port and an address are what they are (Matrix server-server API, "Resolving server names").
            delegate = None if port is not None else await self._well_known.delegate(host)
        return delegate, await self._discovery.resolve(server)

    async def meet(self, place: Destination, path: str) -> Met:
        """Ask whoever answers; see `Outside.meet`."""
        answer = await self._believing.client.request(place, "GET", path, timeout_s=_DIAL_S, limit_bytes=_ANSWER_BYTES)
        name = ""
        with contextlib.suppress(RelayError):
            said = answer.json()
            name = str(said.get("server_name", "")) if isinstance(said, dict) else ""
        return Met(name, self._believing.certificate)


class _Believing:
    """A client that takes any certificate and remembers the last: it is compared, not trusted."""

    def __init__(self, *, allow_private: bool) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        self._dial = TcpDialer(context, allow_private=allow_private, timeout_s=_DIAL_S)
        self.certificate = b""
        self.client = HttpClient(self)

    async def __call__(self, destination: Destination) -> tuple[trio.abc.Stream, bool]:
        """Connect, as `relay.transport.dialing.Dial`."""
        stream, http2 = await self._dial(destination)
        if isinstance(stream, trio.SSLStream):
            self.certificate = stream.getpeercert(binary_form=True) or b""
        return stream, http2


def ways_out() -> set[int]:
    """Return the families (4, 6) in which this machine has a default route."""
    return {6 if ":" in gateway.address else 4 for gateway in routes.gateways_here()}
