"""From a destination to a connected stream: names to addresses, the guard against private ones, TCP, TLS."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import trio

from relay.base.clock import system_knows_time
from relay.base.errors import Fault, UnreachableError
from relay.transport.destination import Destination, is_private

_STAGGER_S = 0.25
_MOST_ADDRESSES = 8


class NameUnknownError(UnreachableError):
    """The name has no address."""

    code = "peer.name_unknown"


class PrivateAddressError(UnreachableError):
    """Every address of the name is private, and this box does not ask such places for strangers."""

    code = "peer.private_address"
    retryable = False


class TlsFailedError(UnreachableError):
    """The peer does not speak TLS, or does not prove its name."""

    code = "peer.tls_failed"


class ClockNotSetError(UnreachableError):
    """No certificate can be checked before somebody has set the clock."""

    code = "clock.not_set"
    fault = Fault.BOX


class Dial(Protocol):
    """Connects to destinations."""

    async def __call__(self, destination: Destination) -> tuple[trio.abc.Stream, bool]:
        """Return a connected stream, and whether HTTP/2 was agreed on it.

        Raises:
            UnreachableError: no connection came about.
        """
        ...


class _Address(NamedTuple):
    family: int
    sockaddr: Any  # as getaddrinfo gives it and connect takes it


class TcpDialer:
    """The real network.

    Args:
        context: for TLS, with the CAs to trust.
        allow_private: whether private and loopback addresses are connected to.
        timeout_s: for one connection, name and handshake included.
        knows_time: whether the clock is set, without which no certificate is valid or not; the kernel's by default.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        allow_private: bool,
        timeout_s: float,
        knows_time: Callable[[], bool] = system_knows_time,
    ) -> None:
        self._context = context
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._knows_time = knows_time

    async def __call__(self, destination: Destination) -> tuple[trio.abc.Stream, bool]:
        """Connect; cancelled or failed, nothing stays open."""
        if destination.tls_name is not None and not self._knows_time():
            raise ClockNotSetError("the clock is not set: its certificate cannot be checked")
        with trio.move_on_after(self._timeout_s):
            plain = await self._connect(destination)
            if destination.tls_name is None:
                return plain, False
            return await self._secure(plain, destination.tls_name)
        raise UnreachableError("no connection in time")

    async def _secure(self, plain: trio.SocketStream, name: str) -> tuple[trio.abc.Stream, bool]:
        secured = trio.SSLStream(plain, self._context, server_hostname=name, https_compatible=True)
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(plain)
            cause = error.__cause__
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise TlsFailedError(f"its certificate is refused: {cause.verify_message}") from None
            raise TlsFailedError("the TLS handshake failed") from None
        except BaseException:
            await trio.aclose_forcefully(plain)
            raise
        return secured, secured.selected_alpn_protocol() == "h2"

    async def _connect(self, destination: Destination) -> trio.SocketStream:
        addresses = await self._addresses(destination.host, destination.port)
        return await connect_first(addresses)

    async def _addresses(self, host: str, port: int) -> list[_Address]:
        try:
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise NameUnknownError("its name has no address") from None
        addresses = [_Address(int(family), sockaddr) for family, _, _, _, sockaddr in found]
        if not self._allow_private:
            # Judged here, on what is then connected to: a name that changes its mind in between gains nothing.
            addresses = [entry for entry in addresses if not is_private(str(entry.sockaddr[0]))]
            if not addresses:
                raise PrivateAddressError("its address is private; federation.allow_private_peers would allow it")
        return _interleave(addresses)[:_MOST_ADDRESSES]


def _interleave(addresses: list[_Address]) -> list[_Address]:
    """Return the addresses with families taking turns, the resolver's first one first (RFC 8305, section 4)."""
    first = [entry for entry in addresses if entry.family == addresses[0].family]
    others = [entry for entry in addresses if entry.family != addresses[0].family]
    mixed = []
    while first or others:
        mixed += first[:1] + others[:1]
        first, others = first[1:], others[1:]
    return mixed


async def connect_first(addresses: list[_Address]) -> trio.SocketStream:
    """Connect to all addresses, each a moment after the one before, and return the first that answers (RFC 8305).

    Raises:
        UnreachableError: none of them did.
    """
    won: list[trio.socket.SocketType] = []
    try:
        async with trio.open_nursery() as nursery:
            for number, address in enumerate(addresses):
                failed = trio.Event()
                nursery.start_soon(_attempt, address, won, failed, nursery.cancel_scope)
                last = number == len(addresses) - 1
                with trio.move_on_after(math.inf if last else _STAGGER_S):
                    await failed.wait()
    except BaseException:
        for connected in won:
            connected.close()
        raise
    if not won:
        raise UnreachableError("no connection to any of its addresses")
    return trio.SocketStream(won[0])


async def _attempt(
    address: _Address, won: list[trio.socket.SocketType], failed: trio.Event, race: trio.CancelScope
) -> None:
    attempted = trio.socket.socket(address.family, socket.SOCK_STREAM)
    try:
        await attempted.connect(address.sockaddr)
        attempted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not won:
            won.append(attempted)
            race.cancel()
    except OSError:
        failed.set()
    finally:
        if attempted not in won:
            attempted.close()
