"""Plain HTTPS requests of short-lived processes, to a real TLS server."""

from pathlib import Path

import pytest

from relay.base.errors import ConfigError, InvalidInputError, TooLargeError, UnreachableError
from relay.base.limits import MAX_AUTHORITY_ANSWER_BYTES
from relay.cli.bench.servers import free_port
from relay.uplink import web as web_module
from relay.uplink.web import Web
from tests.fakes.https_server import Came, https_server


def sized(came: Came) -> tuple[int, dict[str, str], bytes]:
    if came.target == "/elsewhere":
        return 302, {"Location": "/here"}, b""
    return 200, {"Replay-Nonce": "abc"}, bytes(int(came.target.rpartition("=")[2] or 0))


def test_an_answer_may_be_as_long_as_the_limit_and_no_longer(tmp_path: Path) -> None:
    with https_server(tmp_path, sized) as server:
        web = Web(server.ca)
        answer = web.ask("POST", f"{server.url}/a?size={MAX_AUTHORITY_ANSWER_BYTES}", b"body", {"X-Y": "z"})
        assert (answer.status, len(answer.body), answer.headers["replay-nonce"]) == (
            200,
            MAX_AUTHORITY_ANSWER_BYTES,
            "abc",
        )
        assert (server.came[0].body, server.came[0].headers["x-y"]) == (b"body", "z")
        assert "Doorstep" in server.came[0].headers["user-agent"]
        with pytest.raises(TooLargeError):
            web.ask("GET", f"{server.url}/a?size={MAX_AUTHORITY_ANSWER_BYTES + 1}")


def test_a_redirect_is_an_answer_and_a_head_has_no_body(tmp_path: Path) -> None:
    with https_server(tmp_path, sized) as server:
        assert Web(server.ca).ask("GET", f"{server.url}/elsewhere").status == 302


def test_before_the_clock_is_set_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with https_server(tmp_path, sized) as server:
        monkeypatch.setattr(web_module, "system_knows_time", lambda: False)
        with pytest.raises(UnreachableError, match="clock"):
            Web(server.ca).ask("GET", f"{server.url}/a")
        assert not server.came


def test_whom_nobody_certified_is_not_asked(tmp_path: Path) -> None:
    with https_server(tmp_path, sized) as server:
        with pytest.raises(UnreachableError, match="certificate is refused"):
            Web().ask("GET", f"{server.url}/a")
        with pytest.raises(UnreachableError, match="certificate is refused"):
            Web(server.ca).ask("GET", f"https://127.0.0.1:{server.url.rpartition(':')[2]}/a")


@pytest.mark.parametrize("host", ["nowhere.invalid", "localhost"])
def test_where_nobody_answers_that_is_said(host: str) -> None:
    with pytest.raises(UnreachableError, match=host):
        Web().ask("GET", f"https://{host}:{free_port()}/")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "https:///path",
        "https://[::1/",
        "https://localhost:99999/",
        "https://localhost:port/",
        f"https://{'a' * 64}.invalid/",
        "https://localhost:9/p\u00e4th",
        "https://localhost:9/a path",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        Web().ask("GET", url)


def test_a_ca_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the CA .*missing cannot be used"):
        Web(tmp_path / "missing")
