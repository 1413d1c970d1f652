"""The announcer on a real interface: what it follows while interfaces and addresses come and go."""

import errno
import socket

import pytest
import trio
import trio.testing

from relay.base.limits import MDNS_TOKENS_BURST, MDNS_TOKENS_PER_S
from relay.uplink import announcer as announcer_module
from relay.uplink import mdns
from relay.uplink.announcer import Announcer
from relay.uplink.dns_message import A, Message, Question, pack_message, read_message
from relay.uplink.interfaces import Interface
from relay.uplink.zone import Names, Service

LOOPBACK = Interface("lo", socket.if_nametoindex("lo"), "127.0.0.1", ())
BOTH = Interface("lo", LOOPBACK.index, "127.0.0.1", ("::1",))
HOST = (b"box", b"local")


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def ask(port: int) -> list[bytes]:
    """Return the addresses of the box, as a resolver without multicast is told them."""
    asking = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    with asking:
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        await asking.sendto(pack_message(Message(number=7, questions=(Question(HOST, A),))), ("224.0.0.251", port))
        with trio.fail_after(5):
            data, _ = await asking.recvfrom(9000)
    return [record.data for record in read_message(data).answers]


async def test_interfaces_and_addresses_are_followed(autojump_clock: trio.testing.MockClock) -> None:
    port, there = free_udp_port(), [LOOPBACK]
    announcer = Announcer(Names("box", "Box"), [Service("_doorstep", 443)], lambda: list(there), port=port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        await trio.sleep(3)
        assert announcer.status()["interfaces"] == {"lo": True}
        there[:] = [BOTH]
        # IPv6 came later, as it does at a start: that group is joined too.
        await trio.sleep(63)
        assert len(announcer._links["lo"]._groups) == 2
        there[:] = []
        await trio.sleep(63)
        assert announcer.status()["interfaces"] == {}
        there[:] = [LOOPBACK, Interface("gone0", 4711, "192.0.2.1", ())]
        await trio.sleep(63)
        assert announcer.status()["interfaces"] == {"lo": True}
        assert announcer.status()["without"] == "gone0"
        nursery.cancel_scope.cancel()


async def test_an_interface_that_refused_for_a_while_is_announced_on_and_no_longer_missing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, there, refusing = free_udp_port(), [LOOPBACK], False
    opened = announcer_module._member

    def member(family: socket.AddressFamily, interface: Interface, port: int) -> object:
        if refusing:
            raise OSError(errno.EADDRINUSE, "taken")
        return opened(family, interface, port)

    monkeypatch.setattr(announcer_module, "_member", member)
    announcer = Announcer(Names("box", "Box"), [Service("_doorstep", 443)], lambda: list(there), port=port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        await trio.sleep(3)
        assert announcer.status()["interfaces"] == {"lo": True}
        there[:], refusing = [BOTH], True
        await trio.sleep(63)
        assert announcer.status()["interfaces"] == {}
        assert announcer.status()["without"] == "lo"
        # As it was before: what spoke then has ended.
        there[:], refusing = [LOOPBACK], False
        await trio.sleep(63)
        assert announcer.status()["interfaces"] == {"lo": True}
        assert announcer.status()["without"] == ""
        assert not announcer._links["lo"].scope.cancel_called
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_resolver_without_multicast_is_answered() -> None:
    port = free_udp_port()
    announcer = Announcer(Names("box", "Box"), [Service("_doorstep", 443)], lambda: [LOOPBACK], port=port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        with trio.fail_after(5):
            while not announcer.status()["interfaces"].get("lo"):
                await trio.sleep(0.02)
        assert await ask(port) == [bytes([127, 0, 0, 1])]
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_flood_costs_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(data: bytes) -> Message:
        nonlocal read
        read += 1
        return read_message(data)

    monkeypatch.setattr(mdns, "read_message", counted)
    port = free_udp_port()
    announcer = Announcer(Names("box", "Box"), [Service("_doorstep", 443)], lambda: [LOOPBACK], port=port)
    question = pack_message(Message(questions=(Question(HOST, A),)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(announcer.run)
        await trio.sleep(0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooding:
            flooding.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            begun_s = trio.current_time()
            for _ in range(40):
                for _ in range(50):
                    flooding.sendto(question, ("224.0.0.251", port))
                await trio.sleep(0.005)
        lasted_s = trio.current_time() - begun_s
        nursery.cancel_scope.cancel()
    assert MDNS_TOKENS_BURST * 0.8 < read <= MDNS_TOKENS_BURST + MDNS_TOKENS_PER_S * lasted_s + 1
