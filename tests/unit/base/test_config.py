from pathlib import Path

import pytest

from relay.base.config import Config, load, split_address
from relay.base.errors import ConfigError
from relay.base.typed_toml import UnknownSettingError

MINIMAL = {"server": {"name": "box.example"}}


def test_what_is_rendered_is_read_back_unchanged(tmp_path: Path) -> None:
    config = Config.parse(MINIMAL).with_settings(
        {"delivery.retry_first_s": "0.5", "federation.allow_private_peers": "true"}
    )
    (tmp_path / "relay.toml").write_text(config.render())
    assert load(tmp_path) == config


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, "not been provisioned"),
        ({**MINIMAL, "servr": {}}, "unknown section servr"),
        ({"server": {"name": "box.example", "nam": "x"}}, "unknown setting in server nam"),
        ({**MINIMAL, "store": {"journal_segments": 1}}, "store.journal_segments is 1; it may be 4 to 64"),
        ({**MINIMAL, "store": {"journal_segments": "8"}}, "must be int"),
        ({**MINIMAL, "limits": {"index_mib": 15}}, "limits.index_mib is 15; it may be 16 to"),
        ({**MINIMAL, "limits": {"free_mib": 0}}, "limits.free_mib is 0; it may be 1 to"),
        ({**MINIMAL, "limits": {"room_inbox_mib": 65}}, "limits.room_inbox_mib is more than limits.inbox_mib"),
        ({**MINIMAL, "limits": {"device_inbox_mib": 129}}, "more than limits.devices_inbox_mib"),
        ({**MINIMAL, "limits": {"index_mib": 16}}, "limits.inbox_mib is more than limits.index_mib"),
        ({**MINIMAL, "delivery": {"to_device_total_mib": 7}}, "delivery.to_device_total_mib is 7"),
        ({**MINIMAL, "log": {"level": "loud"}}, "log.level"),
        ({**MINIMAL, "client": 5}, "client is not a table"),
        ({"server": 5}, "server is not a table"),
    ],
)
def test_a_wrong_setting_is_named_with_its_bound(tables: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.parse(tables)


@pytest.mark.parametrize(
    ("key", "value"), [("nothing.here", "1"), ("log.colour", "1"), ("tls", "1"), ("client.tls", "yes")]
)
def test_set_refuses_what_is_not_a_setting(key: str, value: str) -> None:
    with pytest.raises(ConfigError):
        Config.parse(MINIMAL).with_settings({key: value})


def test_an_address_is_host_and_port() -> None:
    assert split_address("[::1]:8448") == ("::1", 8448)
    assert split_address("localhost:0") == ("localhost", 0)
    for bad in ("localhost", ":1", "a:b", "a:70000"):
        with pytest.raises(ConfigError):
            split_address(bad)


def test_a_missing_or_broken_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not been provisioned"):
        load(tmp_path)
    (tmp_path / "relay.toml").write_text("= broken")
    with pytest.raises(ConfigError, match="not TOML"):
        load(tmp_path)


def test_a_file_with_settings_of_a_newer_release_says_so_and_one_of_an_older_release_gets_the_defaults(
    tmp_path: Path,
) -> None:
    (tmp_path / "relay.toml").write_text('[server]\nname = "box.example"\n[lighthouse]\nlamps = 2\n')
    with pytest.raises(
        UnknownSettingError, match=r"unknown section lighthouse.*a newer release wrote it: install that"
    ):
        load(tmp_path)
    (tmp_path / "relay.toml").write_text('[server]\nname = "box.example"\n')
    assert load(tmp_path) == Config.parse({"server": {"name": "box.example"}})
