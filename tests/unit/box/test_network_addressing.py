import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import ConfigError
from relay.box.network_addressing import (
    KEYS,
    Addressing,
    Profile,
    by_interface,
    checked,
    parse_key,
    problems,
    refuse_doubles,
)

FIXED = Addressing("192.168.1.5/24", "192.168.1.1", "auto", "auto", "192.168.1.1")
PROFILE: Profile = {
    "connection": {"id": ("s", "x")},
    "ipv4": {"method": ("s", "auto")},
    "ipv6": {"method": ("s", "auto")},
}


@pytest.mark.parametrize(
    ("setting", "text", "usual"),
    [
        ("address", "DHCP", "dhcp"),
        ("address", "auto", "dhcp"),
        ("address", "192.168.1.5/255.255.255.0", "192.168.1.5/24"),
        ("address", "192.168.1.5/24, 10.0.0.2/8", "192.168.1.5/24,10.0.0.2/8"),
        ("address", "10.0.0.0/31", "10.0.0.0/31"),
        ("address", "10.0.0.7/32", "10.0.0.7/32"),
        ("address6", "2001:DB8:0::5/64", "2001:db8::5/64"),
        ("gateway", "none", "none"),
        ("gateway6", "fe80::1%eth0", "fe80::1"),
        ("dns", "9.9.9.9 , 2620:fe::fe", "9.9.9.9,2620:fe::fe"),
        ("dns", "127.0.0.53", "127.0.0.53"),
        ("dns", "::1", "::1"),
    ],
)
def test_what_people_type_becomes_the_usual_form(setting: str, text: str, usual: str) -> None:
    assert checked(setting, text) == usual
    assert checked(setting, usual) == usual


@pytest.mark.parametrize(
    ("setting", "text", "why"),
    [
        ("address", "192.168.1.5", "lacks the length of its network, as in 192.168.1.5/24"),
        ("address", "192.168.1.0/24", "name of the whole network"),
        ("address", "192.168.1.255/24", "broadcast address of 192.168.1.0/24"),
        ("address", "255.255.255.255/32", "means everybody"),
        ("address", "224.0.0.1/24", "multicast"),
        ("address", "127.0.0.1/8", "loopback"),
        ("address", "0.0.0.0/0", "no address"),
        ("address", "240.0.0.1/24", "reserved"),
        ("address", "192.168.1.5/0", "whole internet"),
        ("address", "192.168.1.5/33", "no IPv4 address"),
        ("address", "192.168.1.5/24,192.168.1.5/16", "twice"),
        ("address", "2001:db8::5/64", "that is address6"),
        ("address6", "192.168.1.5/24", "that is address"),
        ("address6", "fe80::5/64", "gives itself"),
        ("address6", "2001:db8::/64", "name of the whole network"),
        ("address6", "::ffff:1.2.3.4/96", "clothes"),
        ("address6", "::1/128", "loopback"),
        ("gateway", "router", "no IPv4 address: router"),
        ("dns", "dns.example", "takes addresses of servers"),
        ("dns", "9.9.9.9,9.9.9.9", "twice"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(setting: str, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        checked(setting, text)


@given(setting=st.sampled_from(KEYS), text=st.text(max_size=40))
def test_any_text_is_taken_or_refused_clearly(setting: str, text: str) -> None:
    try:
        usual = checked(setting, text)
    except ConfigError as error:
        assert str(error)
    else:
        assert checked(setting, usual) == usual


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"gateway": "192.168.2.1"}, "not in the network of 192.168.1.5/24: that is 192.168.1.1 to 192.168.1.254"),
        ({"gateway": "192.168.1.5"}, "eth0's own address"),
        ({"gateway": "192.168.1.255"}, "broadcast"),
        ({"gateway": "192.168.1.0"}, "whole network"),
        ({"address": "10.0.0.2/8"}, "gateway 192.168.1.1 is not in the network of 10.0.0.2/8"),
        ({"address": "192.168.1.5/32"}, "no room for one"),
        ({"address": "dhcp", "gateway": "192.168.1.1"}, "not told a gateway while its address is dhcp"),
        ({"address": "dhcp", "gateway": "none"}, "takes the gateway that its network tells, if any, while its address"),
        ({"gateway6": "none"}, "takes the gateway6 that its network tells, if any, while its address6 is auto"),
        ({"address": "off", "address6": "off"}, "no address at all"),
        ({"address6": "off", "dns": "2620:fe::fe"}, "cannot be asked: eth0 has IPv6 off"),
        ({"gateway6": "2001:db8::1"}, "while its address6 is auto"),
        ({"address6": "2001:db8::5/64", "gateway6": "2001:db8:1::1"}, "not in the network of 2001:db8::5/64"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(texts: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        FIXED.changed("eth0", texts)


def test_a_gateway_comes_and_goes_with_the_fixed_address() -> None:
    by_dhcp = FIXED.changed("eth0", {"address": "dhcp"})
    assert by_dhcp == Addressing(dns="192.168.1.1")
    assert by_dhcp.changed("eth0", {"address": "10.0.0.2/8"}).gateway == "none"
    link_local = FIXED.changed("eth0", {"address6": "2001:db8::5/64", "gateway6": "fe80::1"})
    assert [str(own) for own in link_local.fixed()] == ["192.168.1.5/24", "2001:db8::5/64"]


def test_nobody_tells_a_gateway_beside_a_fixed_address() -> None:
    after = FIXED.changed("eth0", {"gateway": "auto"})
    assert after.gateway == "none"
    assert "no gateway" in after.notes("eth0")[0]
    assert Addressing.read(after.write(PROFILE, Addressing())) == after


def test_what_is_probably_not_meant_is_said() -> None:
    alone = Addressing().changed("eth0", {"address": "192.168.1.5/24"})
    assert len(alone.notes("eth0")) == 2
    assert FIXED.notes("eth0") == []


def test_two_interfaces_do_not_share_an_address() -> None:
    with pytest.raises(ConfigError, match="eth0 and eth1 would both have"):
        refuse_doubles({"eth0": FIXED, "eth1": Addressing("192.168.1.5/16", "none")})
    refuse_doubles({"eth0": FIXED, "eth1": Addressing()})


def test_names_of_interfaces_may_have_dots() -> None:
    assert parse_key("network.eth0.10.address") == ("eth0.10", "address")
    wanted = {"network.eth0.dns": "auto", "network.eth0.address": "dhcp"}
    assert by_interface(wanted) == {"eth0": {"dns": "auto", "address": "dhcp"}}
    for wrong in (
        "network.eth0",
        "network.eth0.speed",
        "network..address",
        "network.a/b.dns",
        f"network.{'x' * 16}.dns",
    ):
        with pytest.raises(ConfigError, match="there is no"):
            parse_key(wrong)


def test_a_plan_says_what_is_wrong_with_it_before_it_is_done() -> None:
    present: dict[str, Any] = {f"network.eth0.{key}": text for key, text in FIXED.texts().items()}
    assert "not in the network" in problems({"network.eth0.gateway": "10.0.0.1"}, present)[0]
    assert problems({"network.eth0.gateway": "192.168.1.2"}, present) == []
    assert len(problems({"network.eth1.address": "192.168.1.6/24"}, present)) == 2


def test_what_is_not_changed_stays_as_the_service_has_it() -> None:
    profile: Profile = {
        **PROFILE,
        "ipv4": {
            "method": ("s", "auto"),
            "route-data": ("aa{sv}", []),
            "addresses": ("aau", []),
            "may-fail": ("b", False),
        },
    }
    before = Addressing.read(profile)
    after = before.changed("eth0", {"dns": "9.9.9.9"}).write(profile, before)
    kept = {"method": ("s", "auto"), "route-data": ("aa{sv}", []), "may-fail": ("b", False)}
    assert after["ipv4"] == {**kept, "dns-data": ("as", ["9.9.9.9"]), "ignore-auto-dns": ("b", True)}
    assert profile["ipv4"]["addresses"] == ("aau", [])


def test_a_word_of_the_service_that_nobody_can_set_is_shown_and_can_be_gone_back_to() -> None:
    shared: Profile = {"ipv4": {"method": ("s", "shared")}, "ipv6": {"method": ("s", "link-local")}}
    before = Addressing.read(shared)
    assert (before.address, before.address6) == ("shared", "link-local")
    changed = FIXED.write(shared, before)
    assert Addressing.read(before.write(changed, FIXED)) == before


_HOSTS = st.integers(1, 254)


@given(
    host=_HOSTS, gateway=_HOSTS, six=st.sampled_from(["auto", "off", "dhcp", "2001:db8::5/64"]), servers=st.booleans()
)
def test_what_is_written_is_read_again(host: int, gateway: int, six: str, *, servers: bool) -> None:
    if host == gateway:
        return
    texts = {"address": f"10.1.2.{host}/24", "gateway": f"10.1.2.{gateway}", "address6": six}
    wanted = Addressing().changed("eth0", {**texts, **({"dns": "10.1.2.3"} if servers else {})})
    assert Addressing.read(wanted.write(PROFILE, Addressing.read(PROFILE))) == wanted
    assert ipaddress.ip_interface(wanted.address).network.num_addresses == 256
