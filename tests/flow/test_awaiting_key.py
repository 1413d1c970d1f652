"""A box whose key is not there: it waits in words, changes nothing, and goes on by itself."""

import contextlib
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.admin.address import SOCKET_NAME
from relay.app import awaiting_key
from relay.app.awaiting_key import open_or_wait
from relay.app.house import unlock
from relay.app.stopping import StopAsked
from relay.base.config import Config
from relay.base.errors import KeyAbsentError, WrongKeyError
from relay.base.lines import AnsweredError
from relay.box.light import StatusLight
from relay.cli.guesses import FILE_NAME as GUESSES
from relay.cli.operate import operate
from relay.console import words
from relay.store import keyring
from relay.store.keyring import KeyFile, Keyring

FIRST, PHRASE = Config.parse({"server": {"name": "box.example"}}), "a phrase that only we know"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_ARGON_MEMORY_KIB", 64)
    monkeypatch.setattr(keyring, "_ARGON_PASSES", 1)
    monkeypatch.setattr(awaiting_key, "_LOOK_EVERY_S", 0.01)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def a_box(tmp_path: Path, settings: dict[str, str], phrase: str | None = None) -> tuple[Path, Config, Keyring]:
    folder, config = tmp_path / "state", FIRST.with_settings(settings)
    folder.mkdir()
    keys = unlock(folder, config.store, phrase)
    (folder / "relay.toml").write_text(config.render())
    return folder, config, keys


def contents(folder: Path) -> dict[str, bytes]:
    # That somebody tried is counted; nothing else may change.
    passing = (SOCKET_NAME, GUESSES)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in passing}


class Outcome:
    keys: Keyring | None = None
    done: trio.Event


@contextlib.asynccontextmanager
async def waiting(folder: Path, config: Config, stop: StopAsked | None = None) -> AsyncIterator[Outcome]:
    outcome = Outcome()
    outcome.done = trio.Event()

    async def wait() -> None:
        outcome.keys = await open_or_wait(folder, config, stop or StopAsked(), StatusLight(()))
        outcome.done.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            # The socket is there a moment before anybody listens.
            while "waits" not in await ask(folder, verb="status"):
                await trio.sleep(0.005)
            yield outcome
            await outcome.done.wait()


async def ask(folder: Path, **fields: Any) -> dict[str, Any]:
    return await trio.to_thread.run_sync(operate, folder, fields)


async def test_a_box_goes_on_when_the_stick_with_its_key_is_plugged_in(
    tmp_path: Path, supervisor: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    folder, config, keys = a_box(tmp_path, {"store.key_file": str(stick / "root.key")})
    stick.rename(tmp_path / "pulled")
    before = contents(folder)
    async with waiting(folder, config) as outcome:
        status = await ask(folder, verb="status")
        assert (status["running"], status["provisioned"]) == (False, True)
        told = "\n".join(words.status(status))
        assert "waiting for its key" in told
        assert str(stick / "root.key") in told
        assert "may be pulled out after" in told
        findings = (await ask(folder, verb="doctor"))["findings"]
        assert findings[0]["level"] == "fault"
        assert "root.key" in findings[0]["what"]
        with pytest.raises(AnsweredError, match="waiting for its key"):
            await ask(folder, verb="user_list")
        # Another stick is no reason to give up.
        stick.mkdir()
        KeyFile(stick / "root.key").create()
        while "does not open" not in (await ask(folder, verb="status"))["waits"]:
            await trio.sleep(0.01)
        assert contents(folder) == before
        (tmp_path / "pulled" / "root.key").replace(stick / "root.key")
    assert outcome.keys == keys
    told = supervisor.recv(4096).decode()
    assert "EXTEND_TIMEOUT_USEC=120000000" in told
    assert "READY" not in told
    assert "waiting for its key" in capfd.readouterr().err


async def test_a_locked_box_waits_for_its_passphrase_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    folder, config, keys = a_box(tmp_path, {"store.key_source": "passphrase"}, PHRASE)
    before = contents(folder)
    async with waiting(folder, config) as outcome:
        told = "\n".join(words.status(await ask(folder, verb="status")))
        assert "locked, waiting for the passphrase" in told
        assert "console: passphrase" in told
        with pytest.raises(AnsweredError, match="does not open") as refused:
            await ask(folder, verb="passphrase", passphrase="a phrase that they guess")
        assert refused.value.code == WrongKeyError.code
        assert contents(folder) == before
        assert not outcome.done.is_set()
        assert await ask(folder, verb="passphrase", passphrase=PHRASE) == {"unlocked": True}
    assert outcome.keys == keys


async def test_a_box_that_waits_can_be_stopped(tmp_path: Path) -> None:
    folder, config, _ = a_box(tmp_path, {"store.key_source": "passphrase"}, PHRASE)
    stop = StopAsked()
    async with waiting(folder, config, stop) as outcome:
        assert await ask(folder, verb="restart") == {"stopping": True}
    assert (outcome.keys, stop.restart) == (None, True)


async def test_a_key_that_is_no_passphrase_cannot_be_typed(tmp_path: Path) -> None:
    key = tmp_path / "root.key"
    folder, config, keys = a_box(tmp_path, {"store.key_file": str(key)})
    key.rename(tmp_path / "pulled")
    async with waiting(folder, config) as outcome:
        with pytest.raises(AnsweredError, match="no passphrase"):
            await ask(folder, verb="passphrase", passphrase=PHRASE)
        (tmp_path / "pulled").rename(key)
    assert outcome.keys == keys


async def test_a_wrong_passphrase_of_the_service_can_be_put_right(
    tmp_path: Path, supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config, keys = a_box(tmp_path, {"store.key_source": "passphrase"}, PHRASE)
    (tmp_path / "doorstep.passphrase").write_text("an older one\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    async with waiting(folder, config) as outcome:
        await ask(folder, verb="passphrase", passphrase=PHRASE)
    assert outcome.keys == keys
    # Without a service somebody reads the line and tries again.
    monkeypatch.delenv("NOTIFY_SOCKET")
    with pytest.raises(WrongKeyError):
        await open_or_wait(folder, config, StopAsked(), StatusLight(()))


async def test_nothing_else_opens_the_folder_meanwhile(tmp_path: Path) -> None:
    folder, config, _ = a_box(tmp_path, {"store.key_source": "passphrase"}, PHRASE)
    with pytest.raises(KeyAbsentError, match="nobody gave"):
        unlock(folder, config.store)
    async with waiting(folder, config):
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
        await ask(folder, verb="passphrase", passphrase=PHRASE)
