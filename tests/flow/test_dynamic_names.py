"""A dyndns2 provider as its documentation describes it (help.dyn.com/perform-update.html, return-codes.html)."""

import base64
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from relay.base.config import FILE_NAME, Config
from relay.base.errors import ConfigError
from relay.cli import name_update as child
from relay.cli.name_update import name_update
from tests.fakes.https_server import Came, HttpsServer, https_server


class Provider:
    """Keeps one name for one user: 401 with `badauth` without him, `nohost` for other names, else `good` or `nochg`."""

    def __init__(self) -> None:
        self.name = "box.example"
        self.addresses = ""
        self.broken = ""

    def answer(self, came: Came) -> tuple[int, dict[str, str], bytes]:
        asked = parse_qs(urlsplit(came.target).query)
        who = base64.b64decode(came.headers.get("authorization", "").removeprefix("Basic ")).decode()
        if not came.headers.get("user-agent", "").startswith("Doorstep"):
            return 200, {}, b"badagent"
        if who != "anna:correct horse":
            return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b"badauth"
        if asked.get("hostname") != [self.name]:
            return 200, {}, b"nohost"
        if self.broken:
            return 200, {}, self.broken.encode()
        addresses = asked.get("myip", ["203.0.113.5"])[0]
        code, self.addresses = "nochg" if addresses == self.addresses else "good", addresses
        return 200, {}, f"{code} {addresses}\r\n".encode()


def settle(folder: Path, server: HttpsServer, **dns: object) -> None:
    (folder / "password").write_text("correct horse\n")
    table = {"method": "dyndns2", "server": f"{server.url}/nic/update", "user": "anna", "key_file": "password", **dns}
    config = Config.parse({"server": {"name": "box.example"}, "tls": {"ca": str(server.ca)}, "dns": table})
    (folder / FILE_NAME).write_text(config.render())


@pytest.fixture(autouse=True)
def says(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    addresses: set[str] = set()
    monkeypatch.setattr(child, "_says", lambda _name: addresses)
    return addresses


def test_the_provider_hears_of_addresses_that_the_name_does_not_have_yet(tmp_path: Path, says: set[str]) -> None:
    provider = Provider()
    with https_server(tmp_path, provider.answer) as server:
        settle(tmp_path, server)
        told = name_update(tmp_path, {"ipv4": "192.0.2.7", "ipv6": "2001:db8::7"})
        assert told["changed"]
        assert provider.addresses == "192.0.2.7,2001:db8::7"
        says |= {"192.0.2.7", "2001:db8::7"}
        assert name_update(tmp_path, {"ipv4": "192.0.2.7", "ipv6": "2001:db8::7"}) == {"changed": False}
        assert len(server.came) == 1


def test_without_an_address_of_our_own_the_provider_takes_what_it_sees_and_not_all_the_time(tmp_path: Path) -> None:
    provider = Provider()
    with https_server(tmp_path, provider.answer) as server:
        settle(tmp_path, server)
        assert name_update(tmp_path, {})["address"] == "203.0.113.5"
        assert "myip" not in server.came[0].target
        assert name_update(tmp_path, {}) == {"changed": False}
        assert len(server.came) == 1


def test_another_address_is_told_however_short_the_time_since_the_last_one(tmp_path: Path, says: set[str]) -> None:
    provider = Provider()
    with https_server(tmp_path, provider.answer) as server:
        settle(tmp_path, server)
        name_update(tmp_path, {"ipv6": "2001:db8::7"})
        assert provider.addresses == "2001:db8::7"
        says.add("2001:db8::7")
        # The line came back with another prefix, and so with another IPv4 address.
        came = len(server.came)
        assert name_update(tmp_path, {"ipv6": "2001:db8:1::7"})["changed"]
        assert provider.addresses == "2001:db8:1::7"
        assert len(server.came) == came + 2
        assert name_update(tmp_path, {"ipv6": "2001:db8:1::7"}) == {"changed": False}


@pytest.mark.parametrize(("change", "code"), [({"user": "otto"}, "badauth"), ({"name": "other.example"}, "nohost")])
def test_a_fatal_refusal_is_not_repeated_until_something_changes(
    tmp_path: Path, change: dict[str, str], code: str
) -> None:
    with https_server(tmp_path, Provider().answer) as server:
        settle(tmp_path, server, **change)
        for _ in range(3):
            result = name_update(tmp_path, {"ipv4": "192.0.2.7"})
            assert (result["kind"], result["fatal"]) == (code, True)
        assert len(server.came) == 1
        settle(tmp_path, server)
        assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["changed"]


def test_what_was_mended_at_the_provider_is_noticed_by_a_start_an_hour_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, now_s = Provider(), child._now_s()
    monkeypatch.setattr(child, "_now_s", lambda: now_s)
    with https_server(tmp_path, provider.answer) as server:
        settle(tmp_path, server, name="other.example")
        assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["kind"] == "nohost"
        provider.name = "other.example"
        for later_s in (3599, -1):
            monkeypatch.setattr(child, "_now_s", lambda later_s=later_s: now_s + later_s)
            assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["kind"] == "nohost"
            assert len(server.came) == 1
        monkeypatch.setattr(child, "_now_s", lambda: now_s + 3600)
        assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["changed"]


def test_another_password_is_a_change_too(tmp_path: Path) -> None:
    with https_server(tmp_path, Provider().answer) as server:
        settle(tmp_path, server)
        (tmp_path / "password").write_text("wrong")
        assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["kind"] == "badauth"
        (tmp_path / "password").write_text("correct horse")
        assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["changed"]


def test_a_fault_of_the_provider_is_waited_for(tmp_path: Path) -> None:
    provider = Provider()
    with https_server(tmp_path, provider.answer) as server:
        settle(tmp_path, server)
        provider.broken = "911"
        result = name_update(tmp_path, {"ipv4": "192.0.2.7"})
        assert (result["kind"], result["fatal"], result["wait_s"]) == ("911", False, 1800)
        provider.broken = ""
        assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["changed"]


def test_nobody_is_told_where_nothing_is_set_or_the_password_is_gone(tmp_path: Path) -> None:
    with https_server(tmp_path, Provider().answer) as server:
        settle(tmp_path, server, method="off")
        with pytest.raises(ConfigError, match="off"):
            name_update(tmp_path, {})
        settle(tmp_path, server, key_file="")
        with pytest.raises(ConfigError, match=r"needs dns\.server"):
            name_update(tmp_path, {})
        settle(tmp_path, server)
        (tmp_path / "password").unlink()
        with pytest.raises(ConfigError, match=r"dns\.key_file"):
            name_update(tmp_path, {})
    (tmp_path / "password").write_text("correct horse\n")
    assert name_update(tmp_path, {"ipv4": "192.0.2.7"})["kind"] == "unreachable"
