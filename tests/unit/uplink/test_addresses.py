from relay.uplink.addresses import lasting_ipv6, public

TABLE = """\
20010db8000000000000000000000001 02 40 00 80     eth0
2a010db8000000000000000000000009 02 40 00 80     eth0
2a010db8000000000000000000000002 02 40 00 01     eth0
2a010db8000000000000000000000003 02 40 00 20     eth0
2a010db8000000000000000000000004 02 40 00 40     eth0
2a010db8000000000000000000000005 02 40 00 00     eth0
fe800000000000000000000000000001 02 40 20 80     eth0
fd000000000000000000000000000001 02 40 00 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
nonsense
"""


def test_the_address_that_lasts_is_neither_temporary_nor_deprecated_nor_tentative_nor_at_home_only() -> None:
    assert lasting_ipv6(TABLE) == "2a01:db8::5"


def test_the_order_of_the_table_does_not_matter() -> None:
    assert lasting_ipv6("\n".join(reversed(TABLE.splitlines()))) == "2a01:db8::5"
    assert lasting_ipv6("") == ""


def test_what_the_world_cannot_reach_is_no_address() -> None:
    private = ["10.0.0.1", "192.168.1.2", "100.64.0.1", "127.0.0.1", "169.254.1.1", "fd00::1", "", "eth0"]
    assert [public(address) for address in private] == [""] * len(private)
    assert public("93.184.216.34") == "93.184.216.34"
