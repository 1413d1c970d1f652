import pytest

from relay.base.errors import ConfigError
from relay.base.networks import Networks, is_loopback, parse_networks


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("10.0.0.7", True),
        ("10.0.0.8", False),
        ("fd00::2", True),
        ("fd01::2", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_an_address_is_of_the_networks_or_not(address: str, inside: bool) -> None:
    assert (address in parse_networks("x.y", "127.0.0.0/8,10.0.0.7  fd00::/64")) is inside


def test_nothing_named_is_nobody() -> None:
    assert not parse_networks("x.y", " , ")
    assert "127.0.0.1" not in Networks()


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1;10.0.0.2"])
def test_a_wrong_network_and_everybody_are_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.y: "):
        parse_networks("x.y", text)


@pytest.mark.parametrize(
    ("host", "inside"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False), ("box.example", False)]
)
def test_loopback_is_known(host: str, *, inside: bool) -> None:
    assert is_loopback(host) is inside
