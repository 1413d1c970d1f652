import pytest

from relay.base.errors import InvalidInputError
from relay.transport.destination import Destination, is_private, parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/x?y=1", (Destination("a.example", 443, "a.example", "a.example"), "/x?y=1")),
        ("https://a.example", (Destination("a.example", 443, "a.example", "a.example"), "/")),
        ("http://127.0.0.1:29318/", (Destination("127.0.0.1", 29318, None, "127.0.0.1:29318"), "/")),
        ("https://[2001:db8::1]:8448/a", (Destination("2001:db8::1", 8448, "2001:db8::1", "[2001:db8::1]:8448"), "/a")),
    ],
)
def test_urls_become_destinations(url: str, expected: tuple[Destination, str]) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a/", "https://", "https://u:p@a/", "https://a:99999/", "//a/", "https://[::1/", "https://é.example/"],
)
def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_url(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
def test_addresses_of_the_home_are_private_however_they_are_written(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_not(address: str) -> None:
    assert not is_private(address)
