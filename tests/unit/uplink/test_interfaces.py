from relay.uplink import interfaces as module
from relay.uplink.interfaces import interfaces

DEVICES = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0
 wlan0:  10 1 0 0 0 0 0 0  10 1 0 0 0 0 0 0
"""
IPV6 = """00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000001 02 40 20 80    wlan0
20010db8000000000000000000000002 02 40 00 20    wlan0
20010db8000000000000000000000003 02 40 00 40    wlan0
20010db8000000000000000000000004 02 40 00 00    wlan0
"""


def test_addresses_that_are_not_ours_yet_or_not_for_long_are_left_out() -> None:
    assert module._interface_names(DEVICES) == ["lo", "wlan0"]
    assert module._ipv6_addresses(IPV6) == {"lo": ("::1",), "wlan0": ("fe80::1", "2001:db8::4")}


def test_neighbours_are_reached_where_multicast_goes_somewhere() -> None:
    assert module._is_for_neighbours(0x1043)
    # Loopback, a tunnel, a cable that is not plugged in.
    assert not any(map(module._is_for_neighbours, (0x49, 0x10D1, 0x1003)))


def test_loopback_is_found_when_it_is_named_and_never_else() -> None:
    (loopback,) = interfaces(["lo"])
    assert loopback.addresses[0] == "127.0.0.1"
    assert "lo" not in [interface.name for interface in interfaces()]
    assert interfaces(["nothing0"]) == []
