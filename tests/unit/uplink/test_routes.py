from relay.uplink.routes import Gateway, gateways

IPV4 = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
IPV6 = (
    "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000"
    " 00000100 00000001 00000000 00000001     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001"
    " 00000400 00000003 00000000 00000003     eth0\n"
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000"
    " ffffffff 00000001 00000000 00200200       lo\n"
)


def test_the_best_default_gateway_of_each_family_is_found() -> None:
    assert gateways(IPV4, IPV6) == [Gateway("192.0.2.1", "eth0"), Gateway("fe80::1", "eth0")]


def test_a_machine_without_a_way_out_has_none() -> None:
    only_neighbours = "\n".join(IPV4.splitlines()[:1] + IPV4.splitlines()[3:])
    assert gateways(only_neighbours, IPV6.splitlines()[0]) == []
    assert gateways("", "") == []
