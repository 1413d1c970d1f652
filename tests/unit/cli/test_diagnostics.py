import datetime
from pathlib import Path
from typing import Any

import pytest

from relay.app.version import VERSION
from relay.base.config import FILE_NAME, Config, ServerConfig
from relay.base.errors import DamagedError, RelayError
from relay.base.ids import ServerName
from relay.base.limits import MAX_DIAGNOSTICS_BYTES, MAX_DIAGNOSTICS_LINE_CHARACTERS, MAX_DIAGNOSTICS_LOG_LINES
from relay.cli.diagnostics import Surroundings, diagnose

NOW = datetime.datetime(2026, 11, 23, 22, 0, tzinfo=datetime.UTC)
AROUND = Surroundings(["relay.service: active"], [], NOW, "kitchen-pi")
SECTIONS = ("settings", "people", "status", "machine", "doctor", "flash", "units", "log", "console", "end")
SETTINGS = {
    "acme.directory": "https://ca.annas-authority.example/directory",
    "acme.contact": "anna.private@mail.example",
    "acme.eab_key_id": "annas-account",
    "acme.eab_key_file": "eab.key",
    "dns.method": "rfc2136",
    "dns.server": "ns.annas-provider.example",
    "dns.user": "annas-dyndns-user",
    "dns.key_file": "tsig.key",
    "client.public_url": "https://chat.annas-house.example",
    "federation.listen": "192.0.2.77:8448",
    "standby.target": "nats://nas.annas-cellar.example:4222/boxes",
    "standby.credentials_file": "standby.credentials",
    "log.level": "debug",
}
PRIVATE = (
    "anna",
    "Anna",
    "192.0.2.77",
    "cellar",
    "kitchen",
    "c2VjcmV0LXRzaWc",
    "T0psecretUser",
    "hunter22",
    "eab-secret",
)


def answer(fields: dict[str, Any]) -> dict[str, Any]:
    match fields["verb"]:
        case "user_list":
            return {"users": [{"user": "@anna:home.annas-house.example", "admin": True, "active": True}]}
        case "doctor":
            what = "annas-dyndns-user at ns.annas-provider.example answered Anna's box: c2VjcmV0LXRzaWc"
            return {"findings": [{"level": "fault", "what": what, "next_step": "ask anna"}]}
    return {"running": True, "server": "home.annas-house.example", "users": 1, "ledger": {"fault": "", "commits": 7}}


def damaged(_fields: dict[str, Any]) -> dict[str, Any]:
    raise DamagedError("the room of anna is damaged")


def broken(_fields: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError("anna")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    config = Config(server=ServerConfig(name=ServerName("home.annas-house.example"))).with_settings(SETTINGS)
    (tmp_path / FILE_NAME).write_text(config.render())
    (tmp_path / "tsig.key").write_text('key "annas-key" { algorithm hmac-sha256; secret "c2VjcmV0LXRzaWc"; };')
    (tmp_path / "eab.key").write_text("eab-secret\n")
    (tmp_path / "standby.credentials").write_text("user: T0psecretUser\npassword: hunter22\n")
    return tmp_path


def test_it_says_what_helps_and_names_nobody(box: Path) -> None:
    log = [
        ("2026-11-23T22:00:00Z relay.service", '{"event": "app.opened", "boot": 3, "who": "Anna"}'),
        ("2026-11-23T22:00:01Z relay.service", "Traceback\n  File x.py, line 1\nKeyError: '@anna:far.example'"),
        ("2026-11-23T22:00:02Z relay.service", "T0psecretUser hunter22 c2VjcmV0LXRzaWc annas-dyndns-user eab-secret"),
    ]
    around = Surroundings(AROUND.units, log, NOW, "kitchen-pi")
    text = diagnose(box, answer, around, ["relay> status", "error: kitchen-pi is not anna"])
    assert [private for private in PRIVATE if private in text] == []
    for said in (
        f"Doorstep {VERSION}: diagnostics, made 2026-11-23 22:00:00 UTC",
        "server.name = <server-1>",
        "federation.listen = <host-",
        "log.level = debug",
        "dns.method = rfc2136",
        "1 accounts, 1 active, 1 admin",
        "server: <server-1>",
        "  commits: 7",
        "event=app.opened boot=3",
        "KeyError: ***",
        "relay.service: active",
        "relay> status",
        "root.a: missing or unreadable",
    ):
        assert said in text, said
    assert "are as they usually are" in text


def test_the_same_box_gives_the_same_text(box: Path) -> None:
    first, second = (diagnose(box, answer, AROUND) for _ in range(2))
    # How much is free and how fast is written, others decide, too.
    ours = [
        [line for line in text.splitlines() if "bytes free" not in line and "at the pace" not in line]
        for text in (first, second)
    ]
    assert ours[0] == ours[1]


@pytest.mark.parametrize("operate", [damaged, broken])
@pytest.mark.parametrize("settings", [b"not toml: anna\n", b"\0" * 200, b"[server]\nextra = 1\nname = 7\n", None])
def test_whatever_is_broken_the_rest_is_there(tmp_path: Path, operate: Any, settings: bytes | None) -> None:
    folder = tmp_path / "annas things"
    folder.mkdir()
    if settings is not None:
        (folder / FILE_NAME).write_bytes(settings)
    text = diagnose(folder, operate, AROUND)
    assert [line[3:-3] for line in text.splitlines() if line.startswith("== ")] == list(SECTIONS)
    assert "could not be looked at" in text
    assert "anna" not in text
    assert isinstance(diagnose(tmp_path / "nowhere", operate, AROUND), str)


def test_settings_that_this_release_does_not_know_are_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('[server]\nname = "anna.example"\n[client]\nlisten = 7\nfuture = "anna"\n')
    text = diagnose(tmp_path, damaged, AROUND)
    assert "config.unknown: " in text
    assert "server.name = <server-1>" in text
    assert "client.listen = 7" in text
    assert "anna" not in text


def test_it_is_bounded_and_says_so(tmp_path: Path) -> None:
    log = [("relay.service", "x y " * 2000)] * (MAX_DIAGNOSTICS_LOG_LINES + 1)
    text = diagnose(tmp_path, answer, Surroundings([], log, NOW, "pi"), ["relay> status"])
    assert "x y" in text
    assert max(map(len, text.splitlines())) == MAX_DIAGNOSTICS_LINE_CHARACTERS
    assert text.count("relay.service: x y") == MAX_DIAGNOSTICS_LOG_LINES
    assert len(text) < MAX_DIAGNOSTICS_BYTES
    text = diagnose(tmp_path, answer, AROUND, ["relay> status " + "x" * 200] * 300)
    assert len(text) <= MAX_DIAGNOSTICS_BYTES
    assert "== cut off: " in text.splitlines()[-1]


def test_an_error_is_told_by_its_code(tmp_path: Path) -> None:
    def refuse(_fields: dict[str, Any]) -> dict[str, Any]:
        raise RelayError("for anna")

    assert "could not be looked at: internal" in diagnose(tmp_path, refuse, AROUND)
