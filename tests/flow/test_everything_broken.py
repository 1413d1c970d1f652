"""Whatever is broken, every request is answered, in words that say what to do next; nobody sees a traceback."""

import json
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from relay.cli import commands
from relay.cli.house import open_house
from relay.cli.provisioning import ProvisionPlan, provision
from tests.fakes.small_card import card
from tests.unit.cli.test_provisioning import NOW

PASSWORD = "correct horse battery"


def put(path: Path, data: bytes) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def spoil(*paths: Path) -> None:
    for path in paths:
        with path.open("r+b") as file:
            file.write(os.urandom(min(65_536, path.stat().st_size)))


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def each(*acts: Callable[[Path], object]) -> Callable[[Path], object]:
    def act(box: Path) -> None:
        for one in acts:
            one(box)

    return act


BROKEN: dict[str, Callable[[Path], object]] = {
    "sound": lambda box: None,
    "settings that are not TOML": lambda box: put(box / "relay.toml", b"[server\nname=\n"),
    "settings of zeros": lambda box: put(box / "relay.toml", bytes(4096)),
    "settings with other types": lambda box: put(box / "relay.toml", b'server = 7\nfederation = "x"\n'),
    "settings without a name": lambda box: put(box / "relay.toml", b""),
    "settings that are a folder": lambda box: as_folder(box / "relay.toml"),
    "a trial that is none": lambda box: put(box / "relay.toml.trial", b"\xff\xfe"),
    "index damaged": lambda box: spoil(box / "index.db"),
    "index gone": lambda box: remove(*box.glob("index.db*")),
    "index that is a folder": lambda box: as_folder(box / "index.db"),
    "journal's roots damaged": lambda box: spoil(*(box / "journal").glob("root.*")),
    "journal damaged": lambda box: spoil(*(box / "journal").glob("segment-*")),
    "journal gone": lambda box: shutil.rmtree(box / "journal"),
    "journal that is a file": lambda box: put(box / "journal", b"x"),
    "key gone": lambda box: (box / "root.key").unlink(),
    "key cut off": lambda box: put(box / "root.key", b"x"),
    "keyring gone": lambda box: (box / "keyring").unlink(),
    "keyring damaged": lambda box: spoil(box / "keyring"),
    "owner damaged": lambda box: spoil(box / "owner.json"),
    "certificates gone": lambda box: shutil.rmtree(box / "tls"),
    "certificate damaged": lambda box: spoil(box / "tls" / "cert.pem"),
    "guesses damaged": lambda box: put(box / "guesses.json", b"[]"),
    "profile damaged": lambda box: put(box / "profile.toml", b"nonsense"),
    "catalogue damaged": lambda box: put(box / "backup.catalogue", b"nonsense"),
    "failed starts that are a folder": lambda box: (box / "failed-starts").mkdir(),
    "folder gone": shutil.rmtree,
    "folder empty": each(shutil.rmtree, Path.mkdir),
    "folder that is a file": lambda box: put(box, b"x"),
}
LOOKING = ("status", "doctor", "show", "network", "about", "diagnostics", "format")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "state"
    addresses = {"federation": "127.0.0.1:0", "client": "127.0.0.1:0"}
    plan = ProvisionPlan(
        name="box.example",
        owner="anna",
        password=PASSWORD,
        settings={"store.journal_segments": "4"},
        **addresses,
    )
    provision(folder, plan, open_house, NOW)
    return folder


@pytest.fixture(autouse=True)
def no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/at/all")


@pytest.fixture
def answers(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., dict[str, Any]]:
    """Return what answers a request the way the console's child does."""
    box = tmp_path / "state"
    shutil.copytree(template, box)

    def answer(verb: str, **fields: Any) -> dict[str, Any]:
        class Input:
            buffer = BytesIO(json.dumps({"verb": verb, **fields}).encode() + b"\n")

        monkeypatch.setattr("sys.stdin", Input)
        assert commands.run_command(["ask", "--state", str(box)]) == 0
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in err
        reply = json.loads(out.splitlines()[-1])
        assert isinstance(reply, dict)
        return reply

    return answer


@pytest.mark.parametrize("broken", BROKEN)
def test_every_request_is_answered_and_says_what_to_do(
    broken: str, answers: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    BROKEN[broken](tmp_path / "state")
    replies = {verb: answers(verb) for verb in LOOKING}
    refused = {verb: reply for verb, reply in replies.items() if not reply["ok"]}
    assert {reply["code"] for reply in refused.values()} & {"internal"} == set(), refused
    assert replies["network"]["code"] == "network.unavailable"
    for verb in ("status", "doctor", "diagnostics"):
        assert replies[verb]["ok"], (verb, replies[verb])
    assert "== end ==" in replies["diagnostics"]["result"]["text"]
    assert all(finding["next_step"] for finding in replies["doctor"]["result"]["findings"])
    if broken not in ("sound", "guesses damaged", "catalogue damaged", "failed starts that are a folder"):
        levels = {finding["level"] for finding in replies["doctor"]["result"]["findings"]}
        assert levels & {"fault", "warning"}, replies["doctor"]
    # Nor is who wants to change something left without an answer.
    requests: list[tuple[str, dict[str, Any]]] = [
        ("owner_check", {"secret": PASSWORD}),
        ("set", {"settings": {"log.level": "debug"}}),
        ("rollback", {}),
        ("commit", {}),
        ("restart", {}),
        ("restart_safe", {}),
        ("passphrase", {"passphrase": "a phrase"}),
    ]
    for verb, fields in requests:
        reply = answers(verb, **fields)
        assert reply["ok"] or reply["code"] != "internal", (verb, reply)
        assert reply["ok"] or "not foreseen" not in reply["message"], (verb, reply)
    if broken.startswith("settings") and not broken.endswith("folder"):
        assert answers("status")["result"].get("server") == "box.example"


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_card_that_takes_no_writes_is_named_and_nothing_is_a_bug(
    how: str, answers: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    box = tmp_path / "state"
    with card(box, how):
        for verb in ("status", "doctor", "show", "diagnostics"):
            assert answers(verb)["ok"], verb
        said = json.dumps(answers("doctor")["result"])
        assert ("0 MiB are free" if how == "full" else "takes no writes") in said
        changes: dict[str, dict[str, Any]] = {"set": {"settings": {"log.level": "debug"}}, "restart_safe": {}}
        for verb, fields in changes.items():
            reply = answers(verb, **fields)
            assert reply["code"] == ("storage.no_room" if how == "full" else "storage.failed")
            assert "next: " in reply["message"]
