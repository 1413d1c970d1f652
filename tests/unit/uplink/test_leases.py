from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.uplink.leases import LIFETIME_S, Leases, Wanted
from tests.fakes.router import FakeRouter

DOORS = [Wanted("client", 8443, 443), Wanted("federation", 8448, 8448)]
OPEN = {443: 8443, 8448: 8448}


def nonces() -> Iterator[bytes]:
    return (number.to_bytes(12) for number in count(1))


class Home:
    """A box and its router; time goes from one thing that is due to the next."""

    def __init__(self, router: FakeRouter, client: str = "192.168.1.7") -> None:
        self.router, self.now_s = router, 0.0
        fresh = nonces()
        self.leases = Leases(DOORS, client, 0.0, draw=lambda: 0.5, nonce=lambda: next(fresh))
        self.asked_s: list[float] = []

    def live(self, until_s: float) -> None:
        while self.leases.due_s <= until_s:
            self.now_s = max(self.now_s, self.leases.due_s)
            for packet in self.leases.send(self.now_s):
                self.asked_s.append(self.now_s)
                answer = self.router.answer(packet, self.now_s)
                if answer is not None:
                    self.leases.receive(answer, self.now_s)
        self.now_s = until_s

    def ports(self) -> dict[str, int]:
        return {name: door["port"] for name, door in self.leases.mappings(self.now_s).items()}


@pytest.mark.parametrize("speaks", ["PCP", "NAT-PMP"])
def test_both_doors_are_opened_at_once_in_the_protocol_that_the_router_speaks(speaks: str) -> None:
    home = Home(FakeRouter(speaks))
    home.live(1.0)
    assert home.leases.protocol == speaks
    assert home.router.mappings == OPEN
    assert home.leases.mappings(1.0)["client"] == {
        "address": "9.9.9.9",
        "port": 443,
        "wanted_port": 443,
        "lease_s": 3599,
        "fault": "",
    }


@pytest.mark.parametrize("speaks", ["PCP", "NAT-PMP"])
def test_a_lease_is_renewed_after_half_of_it_and_never_ends(speaks: str) -> None:
    home = Home(FakeRouter(speaks))
    home.live(1.0)
    begun = len(home.router.requests)
    for hour in range(1, 6):
        home.live(hour * 3600.0)
        assert home.ports() == {"client": 443, "federation": 8448}
    renewals = home.asked_s[begun:]
    assert min(renewals) >= LIFETIME_S / 2
    assert len(renewals) <= 2 * 10 * 2


@pytest.mark.parametrize("speaks", ["PCP", "NAT-PMP"])
def test_a_router_that_forgot_everything_is_asked_again_at_the_next_sign_of_it(speaks: str) -> None:
    home = Home(FakeRouter(speaks))
    home.live(100.0)
    home.router.restart(100.0)
    home.live(100.0 + LIFETIME_S * 0.7)
    # The answer to the first renewal shows the new epoch; everything is asked for in that moment.
    assert home.router.mappings == OPEN
    assert home.ports() == {"client": 443, "federation": 8448}


def test_a_silent_router_is_asked_less_and_less_and_in_both_protocols() -> None:
    home = Home(FakeRouter(""))
    home.live(30.0)
    assert home.leases.silent
    home.live(24 * 3600.0)
    assert home.leases.protocol == ""
    assert {packet[0] for packet in home.router.requests} == {0, 2}
    # RFC 6887, section 8.1.1: the wait doubles, to about 1,024 seconds.
    assert len(home.router.requests) < 3.2 * 24 * 3600 / 900
    times = sorted(set(home.asked_s))
    assert times[1] - times[0] == pytest.approx(3.0)
    assert times[2] - times[1] == pytest.approx(6.0)
    assert times[-1] - times[-2] == pytest.approx(1024.0)


def test_a_router_that_learns_to_answer_is_used() -> None:
    home = Home(FakeRouter(""))
    home.live(3600.0)
    home.router.speaks = "NAT-PMP"
    home.live(3 * 3600.0)
    assert home.router.mappings == OPEN


@pytest.mark.parametrize(
    ("speaks", "result", "name"), [("PCP", 2, "NOT_AUTHORIZED"), ("NAT-PMP", 2, "Not Authorized/Refused")]
)
def test_a_refusal_has_its_name_and_is_not_asked_about_every_second(speaks: str, result: int, name: str) -> None:
    home = Home(FakeRouter(speaks, result=result))
    home.live(20.0)
    assert {door["fault"] for door in home.leases.mappings(20.0).values()} == {name}
    assert len(home.router.requests) <= 8
    home.router.result = 0
    home.live(2 * 3600.0)
    assert home.router.mappings == OPEN
    assert {door["fault"] for door in home.leases.mappings(home.now_s).values()} == {""}


@pytest.mark.parametrize(("before", "after"), [("PCP", "NAT-PMP"), ("NAT-PMP", "PCP"), ("PCP", "")])
def test_another_router_at_the_same_address_is_asked_as_if_nothing_was_known(before: str, after: str) -> None:
    home = Home(FakeRouter(before))
    home.live(100.0)
    home.router = FakeRouter(after, "9.9.9.8")
    home.live(3 * LIFETIME_S)
    assert home.leases.protocol == after
    assert home.leases.silent is (after == "")
    assert home.leases.external_address == ("9.9.9.8" if after else "")
    assert home.router.mappings == (OPEN if after else {})


def test_another_port_than_the_wanted_one_is_shown_and_kept() -> None:
    home = Home(FakeRouter())
    home.router.taken = {443}
    home.live(1.0)
    assert home.ports()["client"] == 444
    home.live(3 * 3600.0)
    assert home.ports()["client"] == 444


@pytest.mark.parametrize("speaks", ["PCP", "NAT-PMP"])
def test_everything_is_given_back_in_the_end(speaks: str) -> None:
    home = Home(FakeRouter(speaks))
    home.live(1.0)
    for packet in home.leases.release(1.0):
        home.router.answer(packet, 1.0)
    assert home.router.mappings == {}
    assert home.leases.release(1.0) == []
    assert home.leases.send(1e9) == []


def test_an_answer_with_somebody_elses_nonce_counts_for_nothing() -> None:
    home = Home(FakeRouter())
    (first, *_) = home.leases.send(0.0)
    answer = home.router.answer(first, 0.0)
    assert answer is not None
    home.leases.receive(answer[:24] + bytes(12) + answer[36:], 0.0)
    assert home.leases.protocol == ""
    home.leases.receive(answer, 0.0)
    assert home.leases.protocol == "PCP"


def test_ipv6_is_asked_for_in_pcp_alone() -> None:
    home = Home(FakeRouter("", "2001:db8::9"), client="2001:db8::7")
    home.live(3600.0)
    assert {packet[0] for packet in home.router.requests} == {2}
    home.router.speaks = "PCP"
    home.live(7200.0)
    assert home.leases.external_address == "2001:db8::9"


@given(st.lists(st.binary(max_size=64), max_size=5))
def test_hostile_datagrams_change_nothing_that_matters(datagrams: list[bytes]) -> None:
    home = Home(FakeRouter())
    home.live(1.0)
    for data in datagrams:
        home.leases.receive(data, 2.0)
        home.leases.receive(b"\0\x82" + data, 2.0)
    home.live(3600.0)
    assert home.router.mappings == OPEN
