"""Listens, accepts, and keeps the number of connections bounded; nothing a peer does ends it."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence

import trio

from relay.base.clock import Clock, SystemClock
from relay.base.config import split_address
from relay.base.errors import ConfigError
from relay.base.limits import HANDSHAKE_TIMEOUT_S, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS
from relay.base.log import get_logger
from relay.base.networks import Networks
from relay.transport.body_budget import BodyBudget
from relay.transport.conversation import Conversation
from relay.transport.forwarded import Forwarding
from relay.transport.message import Endpoint
from relay.transport.preamble import Preamble
from relay.transport.tls import ALPN_OF_CHALLENGES, Identity
from relay.transport.wire.events import Wire
from relay.transport.wire.http1 import Http1
from relay.transport.wire.proxy_protocol import ProxyHeaderError, read_proxy_header

log = get_logger()

NOBODY = Networks()
_BACKLOG = 256
_ACCEPT_PAUSE_S = 0.1
# What accept(2) answers when the machine, not the peer, is short of something.
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))


@dataclasses.dataclass(frozen=True, slots=True)
class Listening:
    """A bound socket. `address` is its real HOST:PORT; `tls` is None for plain HTTP."""

    listener: trio.SocketListener
    tls: Identity | None
    address: str
    port: int


async def listen(address: str, tls: Identity | None) -> Listening:
    """Bind HOST:PORT; port 0 takes a free one, `[::]` takes IPv4 too where the machine has both.

    Raises:
        ConfigError: the address is malformed, taken, or not of this machine.
    """
    host, port = split_address(address)
    try:
        bound = await _bind(host, port)
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {error.strerror or error}") from None
    return _listening(bound, host, tls)


def listen_on(passed: socket.socket, tls: Identity | None) -> Listening:
    """Take a stream socket that already listens, bound by whoever started this process.

    Raises:
        ConfigError: it is no listening internet socket.
    """
    listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if passed.family not in (socket.AF_INET, socket.AF_INET6) or not listens:
        raise ConfigError("a socket that was passed in is no listening internet socket")
    return _listening(trio.socket.from_stdlib_socket(passed), passed.getsockname()[0], tls)


def _listening(bound: trio.socket.SocketType, host: str, tls: Identity | None) -> Listening:
    real_port: int = bound.getsockname()[1]
    shown = f"[{host}]:{real_port}" if ":" in host else f"{host}:{real_port}"
    return Listening(trio.SocketListener(bound), tls, shown, real_port)


async def _bind(host: str, port: int) -> trio.socket.SocketType:
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - what was asked for, on a machine without IPv6
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, sockaddr = found[0]
    bound = trio.socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        await bound.bind(sockaddr)
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


class Server:
    """Answers every request of every connection with one endpoint.

    Args:
        answer: the door.
        behind_proxy: whose `X-Forwarded-For` is believed.
        proxy_from: whose connections begin with a PROXY protocol header, must do so, and are believed.
        only_known: connections that come neither from this machine nor from `behind_proxy` are closed.
        most_connections: of all peers together; the longest idle one makes room.
        most_per_address: of one address, an IPv6 /64 counting as one.
    """

    def __init__(
        self,
        answer: Endpoint,
        *,
        behind_proxy: Networks = NOBODY,
        proxy_from: Networks = NOBODY,
        only_known: bool = False,
        clock: Clock | None = None,
        most_connections: int = MAX_CONNECTIONS,
        most_per_address: int = MAX_CONNECTIONS_PER_ADDRESS,
    ) -> None:
        self._answer = answer
        self._clock = clock or SystemClock()
        self._proxy_from = proxy_from
        self._only_known = only_known
        self._most_connections = most_connections
        self._most_per_address = most_per_address
        self._count = 0
        self._counts: dict[str, int] = {}
        self._conversations: dict[Conversation, None] = {}
        self._date = (0, b"")
        self._draining = False
        self._budget = BodyBudget()
        self.forwarding = Forwarding(behind_proxy)
        self._answer_forwarded = self.forwarding.around(answer)

    @property
    def connections(self) -> int:
        """How many connections are open, handshakes included."""
        return self._count

    async def run(
        self,
        listenings: Sequence[Listening],
        *,
        stop: trio.Event | None = None,
        drain_s: float = 5.0,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop` is set, then finish what has begun for at most `drain_s`; closes the listeners."""
        stop = trio.Event() if stop is None else stop
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as doors:
                for listening in listenings:
                    doors.start_soon(self._accept, listening, connections)
                task_status.started()
                await stop.wait()
                doors.cancel_scope.cancel()
            self._draining = True
            for conversation in list(self._conversations):
                conversation.drain()
            connections.cancel_scope.deadline = trio.current_time() + drain_s

    async def converse(self, stream: trio.abc.Stream, *, address: str = "", http2: bool = False) -> None:
        """Serve one connection that is there already, TLS included."""
        wire: Wire
        if http2:
            from relay.transport.wire.http2 import Http2

            wire = Http2(server=True)
        else:
            wire = Http1(server=True)
        conversation = Conversation(
            stream, wire, address=address, answer=self._endpoint(address), date=self._today, budget=self._budget
        )
        self._conversations[conversation] = None
        try:
            await conversation.run(draining=self._draining)
        finally:
            del self._conversations[conversation]

    async def _accept(self, listening: Listening, connections: trio.Nursery) -> None:
        async with listening.listener:
            while True:
                try:
                    stream = await listening.listener.accept()
                except OSError as error:
                    if error.errno not in _SHORTAGES:
                        raise
                    log.warning("transport.accept_failed", errno=errno.errorcode.get(error.errno, ""))
                    self._make_room()
                    await trio.sleep(_ACCEPT_PAUSE_S)
                    continue
                connections.start_soon(self._serve, stream, listening.tls)

    async def _serve(self, stream: trio.SocketStream, tls: Identity | None) -> None:
        if self._count >= self._most_connections and not self._make_room():
            log.warning("transport.connection_refused", connections=self._count)
            await trio.aclose_forcefully(stream)
            return
        self._count += 1
        try:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            address = _address_of(stream)
            await (self._admit_introduced if address in self._proxy_from else self._admit)(stream, tls, address)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("transport.connection_broken")
        except* Exception as errors:  # noqa: BLE001 - a bug of ours costs this connection, not the others
            log.error("transport.connection_failed", error=type(errors.exceptions[0]).__name__)  # noqa: TRY400
        finally:
            stream.socket.close()
            self._count -= 1

    async def _admit_introduced(self, stream: trio.abc.Stream, tls: Identity | None, proxy_address: str) -> None:
        """Serve a connection of a proxy that begins with whom it speaks for; close any other."""
        preamble = Preamble(stream)
        try:
            with trio.fail_after(HANDSHAKE_TIMEOUT_S):
                source = await _introduction(preamble)
        except (ProxyHeaderError, trio.TooSlowError):
            log.warning("transport.proxy_refused")
            await trio.aclose_forcefully(stream)
            return
        await self._admit(preamble, tls, source or proxy_address)

    async def _admit(self, stream: trio.abc.Stream, tls: Identity | None, address: str) -> None:
        """Serve a connection whose address is known, unless there are too many from there."""
        group = _group_of(address)
        if self._counts.get(group, 0) >= self._most_per_address and not self._trusts(address):
            log.debug("transport.address_refused")
            return
        if self._only_known and not self._trusts(address) and not _is_here(address):
            log.debug("transport.stranger_refused")
            return
        self._counts[group] = self._counts.get(group, 0) + 1
        try:
            if tls is None:
                await self.converse(stream, address=address)
            else:
                await self._shake_hands(stream, tls, address)
        finally:
            self._counts[group] -= 1
            if not self._counts[group]:
                del self._counts[group]

    async def _shake_hands(self, stream: trio.abc.Stream, tls: Identity, address: str) -> None:
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S) as patience:
            if tls.challenge is not None:
                stream, answers = await _look_for_challenge(stream, tls.challenge)
                if answers is not None:
                    # RFC 8737, section 3: nothing is said over the connection but the handshake.
                    await trio.SSLStream(stream, answers, server_side=True, https_compatible=True).do_handshake()
                    log.info("transport.challenge_answered")
                    return
            secured = trio.SSLStream(stream, tls.context, server_side=True, https_compatible=True)
            await secured.do_handshake()
        if patience.cancelled_caught:
            log.debug("transport.handshake_timed_out")
            await trio.aclose_forcefully(stream)
            return
        await self.converse(secured, address=address, http2=secured.selected_alpn_protocol() == "h2")

    def _make_room(self) -> bool:
        """End the connection that has been idle longest; return whether there was one."""
        idle = [conversation for conversation in self._conversations if conversation.idle]
        if idle:
            min(idle, key=lambda conversation: conversation.idle_since_s).drop()
        return bool(idle)

    def _trusts(self, address: str) -> bool:
        return address in self.forwarding.trusted

    def _endpoint(self, address: str) -> Endpoint:
        return self._answer_forwarded if self._trusts(address) else self._answer

    def _today(self) -> bytes:
        second = self._clock.wall_ms() // 1000
        if self._date[0] != second:
            # Names are English: no locale is ever set. email.utils would say the same for 0.3 MiB.
            self._date = (second, time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second)).encode("ascii"))
        return self._date[1]


async def _introduction(preamble: Preamble) -> str:
    """Take the PROXY protocol header off; return whom the proxy speaks for, empty for itself.

    Raises:
        ProxyHeaderError: there is none.
    """
    while (header := read_proxy_header(preamble.ahead)) is None:
        if not await preamble.look():
            raise ProxyHeaderError("the connection ended before its PROXY protocol header")
    preamble.drop(header.length_bytes)
    return header.source


async def _look_for_challenge(
    stream: trio.abc.Stream, challenge: Callable[[str], ssl.SSLContext | None]
) -> tuple[trio.abc.Stream, ssl.SSLContext | None]:
    """Return the stream with all its bytes, and what answers where an authority alone can have sent the ClientHello."""
    # Most boxes never have one pending.
    from relay.transport.wire.client_hello import NoClientHelloError, read_client_hello

    preamble = Preamble(stream)
    try:
        while (hello := read_client_hello(preamble.ahead)) is None:
            if not await preamble.look():
                return preamble, None
    except NoClientHelloError:
        # What it is instead, the TLS library knows how to refuse.
        return preamble, None
    asked = hello.protocols == (ALPN_OF_CHALLENGES.encode("ascii"),)
    return preamble, challenge(hello.server_name) if asked and hello.server_name else None


def _is_here(address: str) -> bool:
    return address != "" and ipaddress.ip_address(address).is_loopback


def _address_of(stream: trio.SocketStream) -> str:
    """Return the peer's IP address, an IPv4 one in its own form; empty if it is gone already."""
    try:
        name = stream.socket.getpeername()
    except OSError:
        return ""
    address = str(name[0]).partition("%")[0] if isinstance(name, tuple) else ""
    return address.removeprefix("::ffff:") if "." in address else address


def _group_of(address: str) -> str:
    """Return what counts as one peer: an IPv4 address, or the /64 that one IPv6 line gets."""
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((int(ipaddress.IPv6Address(address)) >> 64 << 64, 64)))
