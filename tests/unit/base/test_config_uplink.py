import pytest

from relay.base.config import Config
from relay.base.errors import ConfigError

BOX = Config.parse({"server": {"name": "box.example"}})


def test_a_box_leaves_the_network_alone_unless_told() -> None:
    assert not BOX.uplink.announce
    assert BOX.uplink.map_ports == "off"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("uplink.host", "box.local", "no dot"),
        ("uplink.host", "-box", "letters"),
        ("uplink.map_ports", "on", "off or auto"),
        ("client.behind_proxy", "everybody", r"client\.behind_proxy"),
        ("federation.proxy_from", "0.0.0.0/0", "everybody"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BOX.with_settings({key: value})
