import ipaddress

from cryptography import x509

from relay.uplink.acme.hosts import alternative_names


def test_addresses_are_named_as_addresses_and_everything_else_as_names() -> None:
    found = alternative_names(["box.example", "192.0.2.7", "2001:db8::7"])
    assert list(found) == [
        x509.DNSName("box.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
    ]
