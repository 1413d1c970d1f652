"""A router over real datagrams: what it gives is shown, kept, and given back."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from relay.base.config_uplink import GATEWAY_PORT
from relay.uplink import port_mapper, routes
from relay.uplink.addresses import Addresses
from relay.uplink.leases import Wanted
from relay.uplink.port_mapper import PortMapper, Way, find_ways, fixed_way
from relay.uplink.routes import Gateway
from tests.fakes.router import FakeRouter

DOORS = [Wanted("client", 8443, 443), Wanted("federation", 8448, 8448)]


class RouterAtHome:
    """The fake router behind a UDP socket on loopback."""

    def __init__(self, router: FakeRouter) -> None:
        self.router = router
        self.socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)

    async def run(self, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        with self.socket:
            await self.socket.bind(("127.0.0.1", 0))
            task_status.started(self.socket.getsockname()[1])
            while True:
                data, source = await self.socket.recvfrom(2000)
                answer = self.router.answer(data, trio.current_time())
                if answer is not None:
                    await self.socket.sendto(answer, source)


async def until(fact: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not fact():
            await trio.sleep(0.005)


@pytest.mark.parametrize("speaks", ["PCP", "NAT-PMP"])
async def test_ports_are_mapped_shown_and_given_back(speaks: str) -> None:
    router, scope = FakeRouter(speaks), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(RouterAtHome(router).run)
        mapper = PortMapper(DOORS, lambda: fixed_way("127.0.0.1", port))

        async def keep() -> None:
            with scope:
                await mapper.run()

        def given() -> bool:
            return all(door["port"] for status in mapper.status().values() for door in status["doors"].values())

        nursery.start_soon(keep)
        await until(lambda: bool(mapper.external_addresses()) and given())
        assert router.mappings == {443: 8443, 8448: 8448}
        (status,) = mapper.status().values()
        assert (status["protocol"], status["external_address"]) == (speaks, "9.9.9.9")
        scope.cancel()
        await until(lambda: not router.mappings)
        nursery.cancel_scope.cancel()


def test_ipv6_is_opened_for_the_address_that_the_name_has(monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel goes out from a temporary one, where it has one: tomorrow that is another.
    monkeypatch.setattr(routes, "gateways_here", lambda: [Gateway("192.168.1.1", "eth0"), Gateway("fe80::1", "eth0")])
    monkeypatch.setattr(port_mapper, "own_address", lambda *_: "192.168.1.7")
    monkeypatch.setattr(port_mapper, "own_addresses", lambda: Addresses(ipv6="2a01:db8::5"))
    at_home = Way("192.168.1.1", GATEWAY_PORT, "eth0", "192.168.1.7")
    assert find_ways() == [at_home, Way("fe80::1", GATEWAY_PORT, "eth0", "2a01:db8::5")]
    monkeypatch.setattr(port_mapper, "own_addresses", Addresses)
    assert find_ways() == [at_home]


async def test_a_router_that_is_not_there_ends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    closed = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await closed.bind(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    mapper = PortMapper(DOORS, lambda: fixed_way("127.0.0.1", port))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mapper.run)
        await trio.sleep(120)
        assert mapper.status()["127.0.0.1"]["silent"]
        assert mapper.external_addresses() == []
        nursery.cancel_scope.cancel()


async def test_another_router_is_followed(autojump_clock: trio.testing.MockClock) -> None:
    ways: list[Way] = []
    mapper = PortMapper(DOORS, lambda: list(ways))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mapper.run)
        await trio.sleep(1)
        assert mapper.status() == {}
        ways += fixed_way("127.0.0.1", 9)
        await trio.sleep(61)
        assert list(mapper.status()) == ["127.0.0.1"]
        # The second cannot be reached from here; another look comes in a minute.
        ways[:] = [Way("127.0.0.2", 9, "", "127.0.0.1"), Way("::1", 9, "", "2001:db8::7")]
        await trio.sleep(61)
        assert list(mapper.status()) == ["127.0.0.2"]
        nursery.cancel_scope.cancel()
