import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from relay.base.errors import UnreachableError
from relay.transport.destination import Destination
from relay.transport.dialing import (
    ClockNotSetError,
    NameUnknownError,
    TcpDialer,
    TlsFailedError,
    _Address,
    _interleave,
    connect_first,
)
from relay.transport.tls import client_context


async def listener() -> trio.SocketListener:
    return (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]


def address_of(bound: trio.SocketListener) -> _Address:
    return _Address(socket.AF_INET, bound.socket.getsockname())


async def closed_port() -> _Address:
    """Return an address where nobody listens any more."""
    bound = await listener()
    address = address_of(bound)
    await bound.aclose()
    return address


async def test_the_first_address_that_answers_wins() -> None:
    async with await listener() as bound:
        stream = await connect_first([await closed_port(), address_of(bound)])
        assert stream.socket.getpeername() == address_of(bound).sockaddr
        await stream.aclose()


async def test_no_address_that_answers_is_unreachable() -> None:
    with pytest.raises(UnreachableError):
        await connect_first([await closed_port(), await closed_port()])


async def test_a_cancelled_connection_leaves_no_socket_open() -> None:
    # pytest turns the ResourceWarning of a socket left open into a failure.
    async with await listener() as bound:
        with trio.move_on_after(0):
            await connect_first([address_of(bound)] * 3)


def test_families_take_turns_with_the_resolvers_choice_first() -> None:
    six, four = _Address(socket.AF_INET6, "6"), _Address(socket.AF_INET, "4")
    assert _interleave([six, six, four, four]) == [six, four, six, four]
    assert _interleave([four, six, six]) == [four, six, six]
    assert _interleave([]) == []


async def test_a_name_without_an_address_is_unknown(certificates: Path) -> None:
    dialer = TcpDialer(client_context(), allow_private=True, timeout_s=5)
    with pytest.raises(NameUnknownError):
        await dialer(Destination("nowhere.invalid", 1, None, "nowhere.invalid"))


@pytest.mark.parametrize("tls_name", ["localhost", None])
async def test_a_peer_that_accepts_and_says_nothing_is_given_up_in_time(tls_name: str | None) -> None:
    async with await listener() as bound:
        dialer = TcpDialer(client_context(), allow_private=True, timeout_s=0.05)
        place = Destination("127.0.0.1", address_of(bound).sockaddr[1], tls_name, "localhost")
        if tls_name is None:
            stream, http2 = await dialer(place)
            assert not http2
            await stream.aclose()
        else:
            with pytest.raises(UnreachableError, match="in time"):
                await dialer(place)


async def test_a_peer_that_does_not_speak_tls_is_said_so() -> None:
    async with await listener() as bound, trio.open_nursery() as nursery:

        async def answer() -> None:
            async with await bound.accept() as stream:
                await stream.send_all(b"HTTP/1.0 400 what\r\n\r\n")

        nursery.start_soon(answer)
        dialer = TcpDialer(client_context(), allow_private=True, timeout_s=5)
        with pytest.raises(TlsFailedError):
            await dialer(Destination("127.0.0.1", address_of(bound).sockaddr[1], "localhost", "localhost"))


async def test_before_the_clock_is_set_no_certificate_is_asked_for_and_plain_connections_go_on() -> None:
    async with await listener() as bound:
        dialer = TcpDialer(client_context(), allow_private=True, timeout_s=5, knows_time=lambda: False)
        port = address_of(bound).sockaddr[1]
        with pytest.raises(ClockNotSetError, match="the clock is not set"):
            await dialer(Destination("127.0.0.1", port, "localhost", "localhost"))
        stream, _ = await dialer(Destination("127.0.0.1", port, None, "localhost"))
        await stream.aclose()
