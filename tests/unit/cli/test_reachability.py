from collections.abc import Sequence
from typing import Any

import pytest

from relay.base.config import Config
from relay.base.errors import UnreachableError
from relay.base.ids import ServerName
from relay.cli.reachability import Known, Met, NoNamesError, look_from_outside
from relay.transport.destination import Destination

NAME = ServerName("home.example")
HERE = "9.9.9.9"


class FakeOutside:
    """A world in which everything is right, unless told otherwise."""

    def __init__(
        self,
        *,
        addresses: Sequence[str] | None = (HERE,),
        delegate: str = "",
        servers: dict[str, Met | str] | None = None,
    ) -> None:
        self.found, self.delegate, self.met = addresses, delegate, servers or {}
        self.asked: list[str] = []

    async def addresses(self, host: str) -> list[str]:
        if self.found is None:
            raise NoNamesError("no name server answers")
        return list(self.found)

    async def places(self, server: ServerName) -> tuple[ServerName | None, list[Destination]]:
        host, _, port = (self.delegate or f"{NAME}:8448").partition(":")
        place = Destination(host, int(port), host, host)
        return (ServerName(self.delegate) if self.delegate else None), [place]

    async def meet(self, place: Destination, path: str) -> Met:
        self.asked.append(f"{place.host}:{place.port}{path}")
        met = self.met.get(f"{place.host}:{place.port}", Met(NAME, b"own"))
        if isinstance(met, str):
            raise UnreachableError(met)
        return met


def known(*, outside: Sequence[str] = (HERE,), ipv6_only: bool = False, **settings: str) -> Known:
    config = Config.parse({"server": {"name": NAME}})
    changed = {key.replace("__", "."): value for key, value in settings.items()}
    certificates = frozenset([b"own"])
    return Known(config=config.with_settings(changed), certificates=certificates, outside=outside, ipv6_only=ipv6_only)


async def codes(box: Known, outside: FakeOutside) -> list[str]:
    return [f"{finding.level} {finding.what.partition(':')[0]}" async for finding in look_from_outside(box, outside)]


GONE = "no connection to any of its addresses"
TUNNEL: dict[str, Any] = {"federation__proxy_from": "127.0.0.1"}
APPS: dict[str, Any] = {"client__tls": "true"}


@pytest.mark.parametrize(
    ("box", "outside", "found"),
    [
        (known(), FakeOutside(), []),
        (known(), FakeOutside(addresses=None), ["warning uplink.no_dns"]),
        (known(), FakeOutside(addresses=()), ["warning uplink.name_unknown"]),
        (known(), FakeOutside(addresses=["192.168.1.7"]), ["note uplink.private_name"]),
        (known(), FakeOutside(addresses=["8.8.8.8"]), ["warning uplink.other_address"]),
        (known(outside=()), FakeOutside(addresses=["8.8.8.8"]), []),
        (known(**TUNNEL), FakeOutside(addresses=["8.8.8.8"]), []),
        (known(ipv6_only=True), FakeOutside(), ["note uplink.ipv6_only"]),
        (known(), FakeOutside(servers={"home.example:8448": GONE}), ["note uplink.not_reached"]),
        (known(**TUNNEL), FakeOutside(servers={"home.example:8448": GONE}), ["warning uplink.not_reached"]),
        (known(), FakeOutside(servers={"home.example:8448": Met("x.y", b"")}), ["warning uplink.somebody_else"]),
        (known(), FakeOutside(servers={"home.example:8448": Met("", b"")}), ["warning uplink.somebody_else"]),
        (known(), FakeOutside(servers={"home.example:8448": Met(NAME, b"x")}), ["note uplink.other_certificate"]),
        (known(), FakeOutside(delegate="m.home.example:443"), []),
        (
            known(),
            FakeOutside(delegate="m.home.example:443", servers={"m.home.example:443": GONE}),
            ["note uplink.delegation"],
        ),
        (known(**APPS), FakeOutside(), []),
        (known(**APPS), FakeOutside(servers={"home.example:443": GONE}), ["note uplink.not_reached"]),
        (
            known(**APPS, client__proxy_from="127.0.0.1"),
            FakeOutside(servers={"home.example:443": GONE}),
            ["warning uplink.not_reached"],
        ),
        (known(**APPS, **TUNNEL), FakeOutside(servers={"home.example:443": GONE}), ["note uplink.not_reached"]),
        (known(**APPS), FakeOutside(servers={"home.example:443": Met("", b"x")}), ["note uplink.other_certificate"]),
        (
            known(client__public_url="https://chat.example"),
            FakeOutside(servers={"chat.example:443": GONE}),
            ["note uplink.not_reached"],
        ),
    ],
)
async def test_each_thing_that_keeps_the_world_out_has_its_name(
    box: Known, outside: FakeOutside, found: list[str]
) -> None:
    assert await codes(box, outside) == found


async def test_nobody_inside_is_connected_to_for_the_sake_of_a_name() -> None:
    outside = FakeOutside(addresses=["10.0.0.1"])
    await codes(known(), outside)
    assert outside.asked == []
    allowed = known(federation__allow_private_peers="true")
    assert await codes(allowed, outside) == ["warning uplink.other_address"]
    assert outside.asked == ["home.example:8448/_matrix/key/v2/server"]


async def test_every_finding_says_what_to_do_next() -> None:
    gone = {"home.example:8448": GONE, "m.home.example:443": GONE}
    for outside in (
        FakeOutside(addresses=[]),
        FakeOutside(servers={**gone}),
        FakeOutside(delegate="m.home.example:443"),
    ):
        async for finding in look_from_outside(known(ipv6_only=True), outside):
            assert finding.next_step
