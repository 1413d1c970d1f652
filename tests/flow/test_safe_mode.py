"""A start that fails stays up in words, and starts again when there is reason to."""

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.app import failed_starts, infirmary, safe_mode
from relay.app.failed_starts import (
    FILE_NAME,
    MANY,
    SafeModeAskedError,
    ask_for_safe,
    forget,
    forget_when_healthy,
    why_safe,
)
from relay.app.safe_mode import SystemRefusedError, as_fault, stay, stays_up
from relay.base.errors import ConfigError, DamagedError, RelayError, StateLockedError
from relay.base.trial import BEFORE
from relay.cli.house import run_house
from relay.cli.operate import operate
from relay.store.faults import NoRoomError

SLOTS = Path(__file__).resolve().parents[2] / "hw/package/slots.sh"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ALIVE_S", "_SOON_S"):
        monkeypatch.setattr(safe_mode, name, 0.02)
    monkeypatch.setattr(infirmary, "_LOOK_FOR_ROOM_S", 0.01)
    monkeypatch.setattr(failed_starts, "_HEALTHY_AFTER_S", 0.0)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "relay.toml").write_text('[server]\nname = "box.example"\n')
    return tmp_path


def fail(box: Path, result: str = "signal") -> None:
    """Do what the supervisor does after the service ended."""
    environment = {
        "PATH": os.environ["PATH"],
        "DOORSTEP_STATE": str(box),
        "SERVICE_RESULT": result,
        "EXIT_CODE": "killed",
        "EXIT_STATUS": "KILL",
    }
    subprocess.run(["sh", SLOTS, "failed"], env=environment, check=True, timeout=10)


@asynccontextmanager
async def staying(box: Path, fault: RelayError) -> AsyncIterator[Callable[[], bool | None]]:
    """Have the box stay up; given is what tells how it ended."""
    ended: list[bool] = []

    async def run() -> None:
        ended.append(await stay(box, fault))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            while "safe_mode" not in await ask(box, "status") and not ended:
                await trio.sleep(0.005)
            yield lambda: ended[0] if ended else None


async def ask(box: Path, verb: str) -> dict[str, Any]:
    return await trio.to_thread.run_sync(operate, box, {"verb": verb})


async def test_it_says_what_is_wrong_and_a_person_who_says_restart_has_it_tried_again(box: Path) -> None:
    async with staying(box, DamagedError("index.db is damaged")) as ended:
        status = await ask(box, "status")
        assert (status["running"], status["server"]) == (False, "box.example")
        assert "index.db is damaged" in status["safe_mode"]
        assert "relay backup restore" in status["next_step"]
        assert "safe mode" in (await ask(box, "doctor"))["findings"][0]["what"]
        with pytest.raises(RelayError, match=r"index\.db is damaged"):
            await ask(box, "user_list")
        await trio.sleep(0.1)
        assert ended() is None
        await ask(box, "restart")
    assert ended() is True
    assert sorted(path.name for path in box.iterdir()) == ["relay.toml"]


async def test_settings_that_somebody_corrects_are_a_reason_to_start_again(box: Path) -> None:
    (box / "relay.toml").write_text("not toml\n")
    async with staying(box, ConfigError("not toml")) as ended:
        status = await ask(box, "status")
        assert "rollback at the console" in status["next_step"]
        (box / "relay.toml").write_text('[server]\nname = "box.example"\n')
    assert ended() is True


@pytest.mark.parametrize("fault", [SystemRefusedError("port: in use"), NoRoomError("the card is full")])
async def test_what_goes_away_by_itself_is_tried_again(box: Path, fault: RelayError) -> None:
    with trio.fail_after(10):
        assert await stay(box, fault) is True


async def test_whoever_calls_meanwhile_is_turned_away_at_once(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        monkeypatch.setattr(safe_mode, "passed_sockets", lambda: {"client": passed.dup()})
        async with staying(box, SafeModeAskedError("it was asked for")):
            stream = await trio.open_tcp_stream("127.0.0.1", passed.getsockname()[1])
            assert await stream.receive_some() == b""
            await stream.aclose()
            await ask(box, "restart")


@pytest.mark.parametrize(
    ("error", "supervised", "stays"),
    [
        (ConfigError("x"), False, False),
        (ConfigError("x"), True, True),
        (OSError(98, "in use"), True, True),
        (DamagedError("x"), False, True),
        (StateLockedError("x"), True, False),
    ],
)
def test_a_start_stays_up_where_somebody_would_start_it_for_ever(
    error: RelayError | OSError, supervised: bool, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if supervised:
        monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    assert stays_up(error) is stays
    assert as_fault(error).code != "internal"


def test_three_failures_in_a_row_lead_to_safe_mode_and_nothing_else_is_written(box: Path) -> None:
    fail(box, "success")
    assert not (box / FILE_NAME).exists()
    for _ in range(MANY - 1):
        fail(box)
        assert why_safe(box) is None
    fail(box, "oom-kill")
    why = why_safe(box)
    assert why is not None
    assert (why.code, str(why)) == ("start.failed", "3 starts in a row failed, the last one so: oom-kill killed KILL")
    for _ in range(12):
        fail(box)
    assert len((box / FILE_NAME).read_text().splitlines()) == 9
    forget(box)
    forget(box)
    assert why_safe(box) is None


def test_safe_mode_can_be_asked_for(box: Path) -> None:
    assert operate(box, {"verb": "restart_safe"}) == {"stopping": False}
    assert isinstance(why_safe(box), SafeModeAskedError)
    ask_for_safe(box)
    with pytest.raises(RelayError, match="not been set up"):
        operate(box / "nowhere", {"verb": "restart_safe"})


@pytest.mark.parametrize("lines", [["signal killed KILL"] * MANY, ["asked"]])
def test_safe_mode_can_be_asked_for_again_from_within(
    box: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    (box / FILE_NAME).write_text("".join(f"{line}\n" for line in lines))

    def run_and_ask(_folder: Path, why: RelayError | None) -> bool:
        assert why is not None
        ask_for_safe(box)
        return True

    monkeypatch.setattr("relay.app.run", run_and_ask)
    monkeypatch.setattr("relay.box.heap.share_heap", lambda: None)
    assert run_house(box)
    assert isinstance(why_safe(box), SafeModeAskedError)
    monkeypatch.setattr("relay.app.run", lambda _folder, _why: True)
    assert run_house(box)
    assert why_safe(box) is None


async def test_a_minute_of_serving_ends_the_count_and_keeps_the_settings_once(box: Path) -> None:
    fail(box)
    await forget_when_healthy(box)
    kept = (box / BEFORE).read_bytes()
    assert kept == (box / "relay.toml").read_bytes()
    (box / "relay.toml").write_text("other\n")
    await forget_when_healthy(box)
    assert (box / BEFORE).read_bytes() == kept
    assert not (box / FILE_NAME).exists()


async def test_settings_that_are_kept_are_on_flash_before_they_have_their_name(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (box / BEFORE).unlink(missing_ok=True)
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (box / BEFORE).exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    await forget_when_healthy(box)
    assert synced == [(f"{BEFORE}.new", False), (box.name, True)]
