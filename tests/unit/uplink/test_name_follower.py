import datetime
from typing import Any

import pytest
import trio

from relay.app.naming import find_about_the_name
from relay.base.config_names import DnsConfig
from relay.base.errors import UnreachableError
from relay.uplink.addresses import Addresses
from relay.uplink.name_follower import NameFollower

NOW_MS = int(datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC).timestamp() * 1000)
HERE = Addresses("192.0.2.7", "2001:db8::7")


class Home:
    """A line whose addresses change, and a child that notes what it is asked."""

    def __init__(self, method: str = "rfc2136", **settings: bool) -> None:
        server = "https://dyn.example/nic/update" if method == "dyndns2" else "ns.example"
        config = DnsConfig(method=method, server=server, key_file="key", **settings)  # type: ignore[arg-type]
        self.here = HERE
        self.ms = NOW_MS
        self.asked: list[tuple[int, str, str]] = []
        self.answers: list[dict[str, Any] | Exception] = []
        self.begun_s = trio.current_time()
        self.config = config
        self.follower = NameFollower(config, "box.example", lambda: self.here, self.ask, self)

    def findings(self) -> list[tuple[str, str, str]]:
        found = find_about_the_name(self.config, self.follower, self)
        return [(finding.level, finding.what, finding.next_step) for finding in found]

    def wall_ms(self) -> int:
        return self.ms

    async def ask(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((round(trio.current_time() - self.begun_s), fields["ipv4"], fields["ipv6"]))
        answer = self.answers.pop(0) if self.answers else {"changed": True}
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    says: list[str] = []

    async def getaddrinfo(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        assert name == "box.example"
        if not says:
            raise OSError
        return [(0, 0, 0, "", (address, 0)) for address in says]

    monkeypatch.setattr("trio.socket.getaddrinfo", getaddrinfo)
    return says


async def lived(home: Home, for_s: float) -> None:
    with trio.move_on_after(for_s):
        await home.follower.run()


async def test_the_name_is_told_at_the_start_and_when_an_address_changes(autojump_clock: object) -> None:
    home = Home()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.follower.run)
        await trio.sleep(100_000)
        home.here = Addresses("192.0.2.8", "2001:db8::7")
        await trio.sleep(100_000)
        nursery.cancel_scope.cancel()
    assert [asked[1:] for asked in home.asked] == [("192.0.2.7", "2001:db8::7"), ("192.0.2.8", "2001:db8::7")]
    assert home.asked[1][0] - 100_000 <= 30


async def test_kinds_that_are_not_wanted_are_not_told(autojump_clock: object) -> None:
    home = Home(ipv6=False)
    await lived(home, 100)
    assert home.asked == [(0, "192.0.2.7", "")]


async def test_without_any_address_a_name_server_has_nothing_to_hear(autojump_clock: object) -> None:
    home = Home()
    home.here = Addresses()
    await lived(home, 10_000)
    assert home.asked == []


async def test_a_provider_that_alone_knows_the_address_is_asked_less_and_less_often(autojump_clock: object) -> None:
    home = Home("dyndns2")
    home.here = Addresses()
    home.answers = [{"changed": True}, {"changed": False}, {"changed": False}, {"changed": False}, {"changed": True}]
    await lived(home, 22 * 3600)
    hours = [round(asked[0] / 3600) for asked in home.asked]
    assert hours == [0, 1, 3, 7, 13, 14, 15, 16, 17, 18, 19, 20, 21]


async def test_failures_are_tried_again_less_and_less_often(autojump_clock: object) -> None:
    home = Home()
    home.answers = [{"kind": "unreachable"}, UnreachableError("x"), {"kind": "911", "wait_s": 1800.0}]
    await lived(home, 4000)
    assert [asked[0] for asked in home.asked] == [0, 60, 180, 1980]
    assert home.follower.kind == ""


async def test_after_a_fatal_refusal_nobody_is_asked_again(autojump_clock: object) -> None:
    home = Home("dyndns2")
    home.answers = [{"kind": "badauth", "detail": "no such user", "fatal": True}]
    await lived(home, 100_000)
    assert len(home.asked) == 1
    assert (home.follower.kind, home.follower.fatal) == ("badauth", True)


async def test_signatures_wait_for_the_clock(autojump_clock: object) -> None:
    home = Home()
    home.ms = 5
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.follower.run)
        await trio.sleep(1000)
        assert home.asked == []
        home.ms = NOW_MS
        await trio.sleep(31)
        assert len(home.asked) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("says", "elsewhere"),
    [
        (["192.0.2.7", "2001:db8::7"], []),
        (["192.0.2.7"], []),
        (["192.0.2.9", "2001:db8::7"], ["192.0.2.9"]),
        ([], []),
    ],
)
async def test_a_name_that_points_elsewhere_is_noticed_once_it_had_time(
    autojump_clock: object, no_names: list[str], says: list[str], elsewhere: list[str]
) -> None:
    home = Home()
    no_names += says
    await lived(home, 800)
    assert home.follower.elsewhere == []
    home = Home()
    await lived(home, 2000)
    assert home.follower.elsewhere == elsewhere


async def test_a_name_that_is_right_has_nothing_to_say(autojump_clock: object, no_names: list[str]) -> None:
    home = Home()
    no_names += HERE
    await lived(home, 2000)
    assert home.findings() == []


@pytest.mark.parametrize(
    ("kind", "advice"), [("secret", "name server's own copy"), ("refused", "update-policy"), ("911", "by itself")]
)
async def test_a_refusal_is_named_with_what_to_do(autojump_clock: object, kind: str, advice: str) -> None:
    home = Home()
    home.answers = [{"kind": kind, "detail": "it says"}]
    await lived(home, 10)
    ((level, what, next_step),) = home.findings()
    assert (level, what) == ("warning", f"name.{kind}: box.example was not updated: it says")
    assert advice in next_step


async def test_a_fatal_refusal_says_what_has_to_change_first(autojump_clock: object) -> None:
    home = Home("dyndns2")
    home.answers = [{"kind": "numhost", "detail": "it says", "fatal": True}]
    await lived(home, 10)
    assert "a restart asks again" in home.findings()[0][2]


async def test_an_address_that_nobody_knows_and_one_that_is_elsewhere_are_named(
    autojump_clock: object, no_names: list[str]
) -> None:
    home = Home()
    home.here = Addresses("", "2001:db8::7")
    no_names += ["2001:db8::8"]
    await lived(home, 2000)
    (unknown, elsewhere) = home.findings()
    assert unknown[0] == "note"
    assert "uplink.map_ports" in unknown[2]
    assert elsewhere[1] == "name.elsewhere: box.example points to 2001:db8::8, the box is at 2001:db8::7"


async def test_a_clock_that_is_not_set_is_named(autojump_clock: object) -> None:
    home = Home()
    home.ms = 5
    await lived(home, 10)
    assert "the clock is not set" in home.findings()[0][1]
