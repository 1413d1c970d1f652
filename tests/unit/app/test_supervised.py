import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from relay.app.supervised import ask_for_time, keep_told, show_on
from relay.box.light import Shown, StatusLight
from relay.box.service import Supervisor
from relay.store.ledger import Ledger
from relay.store.upgrade import MARK
from tests.fakes.files import Kind, MemoryFiles
from tests.fakes.held_flash import HeldFiles, HeldWorkers
from tests.fakes.ledger import memory_ledger
from tests.unit.store.test_ledger import NOTES, SEEN, put

DARK = StatusLight(())


class BrokenFiles(MemoryFiles):
    """A card whose journal syncs fail while `broken`."""

    broken = False

    def before(self, kind: Kind, path: str) -> None:
        if self.broken and kind == "sync" and "/journal/" in path:
            raise OSError(5, "Input/output error")


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    """Yield the socket on which a supervisor listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def supervisor_of(heard: socket.socket, watchdog_s: float = 30) -> Supervisor:
    return Supervisor({"NOTIFY_SOCKET": heard.getsockname(), "WATCHDOG_USEC": str(round(watchdog_s * 1_000_000))})


def all_of(heard: socket.socket) -> list[bytes]:
    said: list[bytes] = []
    while True:
        try:
            said.append(heard.recv(1000))
        except BlockingIOError:
            return said


async def test_the_watchdog_is_fed_thrice_in_its_time(
    heard: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    async with memory_ledger(NOTES) as ledger:
        with trio.move_on_after(59):
            await keep_told(supervisor_of(heard), ledger, DARK)
        assert all_of(heard) == [b"WATCHDOG=1"] * 6


async def test_more_time_is_asked_for_while_an_upgrade_runs_and_only_then(
    heard: socket.socket, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        patience = await nursery.start(ask_for_time, supervisor_of(heard), tmp_path)
        await trio.sleep(50)
        assert all_of(heard) == []
        (tmp_path / MARK).write_text("2 of 3")
        await trio.sleep(20)
        words = "bringing what is stored to the form of this release: step 2 of 3"
        assert all_of(heard) == [f"EXTEND_TIMEOUT_USEC=120000000\nWATCHDOG=1\nSTATUS={words}".encode()]
        patience.cancel()


async def test_a_watchdog_that_nobody_asked_for_is_not_fed(heard: socket.socket) -> None:
    async with memory_ledger(NOTES) as ledger:
        await keep_told(Supervisor({"NOTIFY_SOCKET": heard.getsockname()}), ledger, DARK)
    assert all_of(heard) == []


async def test_a_ledger_that_does_not_answer_starves_the_watchdog(
    heard: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    async with memory_ledger(NOTES) as ledger:
        released = trio.Event()

        async def never(*_: object) -> object:
            await released.wait()
            return None

        read, ledger.read = ledger.read, never  # type: ignore[method-assign, assignment]
        with trio.move_on_after(300):
            await keep_told(supervisor_of(heard), ledger, DARK)
        assert all_of(heard) == []
        ledger.read = read  # type: ignore[method-assign]


async def until(light: StatusLight, what: Shown) -> None:
    """Wait for a thread, whose time the jumping clock does not know."""
    for _ in range(10_000):
        if light.shows(what):
            return
        await trio.to_thread.run_sync(int)
    raise AssertionError(what)


async def test_the_light_tells_a_fault_without_any_supervisor(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    trigger, files = tmp_path / "ACT" / "trigger", BrokenFiles()
    trigger.parent.mkdir()
    trigger.write_text("[heartbeat] pattern")
    for name in ("brightness", "pattern"):
        (trigger.parent / name).write_text("")
    light = StatusLight(["ACT"], tmp_path)
    async with memory_ledger(NOTES, files=files) as ledger, trio.open_nursery() as nursery:
        nursery.start_soon(keep_told, Supervisor({}), ledger, light)
        await until(light, Shown.HEALTHY)
        assert (trigger.parent / "brightness").read_text() == "255"
        files.broken = True
        with pytest.raises(Exception, match="flash refused"):
            await ledger.run(put, 1, "lost")
        await trio.sleep(30)
        await until(light, Shown.ATTENTION)
        assert trigger.read_text().startswith("pattern")
        nursery.cancel_scope.cancel()


async def test_flash_that_refuses_is_told_in_words_and_no_reason_to_start_again(
    heard: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    files = BrokenFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        files.broken = True
        with pytest.raises(Exception, match="flash refused"):
            await ledger.run(put, 1, "lost")
        with trio.move_on_after(25):
            await keep_told(supervisor_of(heard), ledger, DARK)
        said = all_of(heard)
        assert said.count(b"WATCHDOG=1") == 3
        assert [text for text in said if text.startswith(b"STATUS=nothing new is taken in: ")] == said[1:2]


async def put_lazily(ledger: Ledger) -> None:
    await ledger.run(lambda change: change.write(SEEN, 1, 1))
    await ledger.drain()


async def put_firmly(ledger: Ledger) -> None:
    await ledger.run(put, 1, "kept")


@pytest.mark.parametrize("write", [put_firmly, put_lazily])
async def test_a_commit_that_flash_does_not_finish_starves_the_watchdog(
    heard: socket.socket, write: Callable[[Ledger], Awaitable[None]]
) -> None:
    files = HeldFiles()
    async with memory_ledger(NOTES, files=files, workers=HeldWorkers()) as ledger, trio.open_nursery() as nursery:
        nursery.start_soon(keep_told, supervisor_of(heard, watchdog_s=0.03), ledger, DARK)
        files.hold()
        nursery.start_soon(write, ledger)
        while not files.waiting.is_set():
            await trio.sleep(0.002)
        await trio.sleep(0.03)
        all_of(heard)
        # Thrice as long as the supervisor waits.
        await trio.sleep(0.09)
        assert all_of(heard) == []
        files.release()
        while not all_of(heard):
            await trio.sleep(0.002)
        nursery.cancel_scope.cancel()


async def test_a_loop_that_is_blocked_starves_the_watchdog(heard: socket.socket) -> None:
    async with memory_ledger(NOTES) as ledger, trio.open_nursery() as nursery:
        nursery.start_soon(keep_told, supervisor_of(heard, watchdog_s=0.03), ledger, DARK)
        while not all_of(heard):
            await trio.sleep(0.005)
        threading.Event().wait(0.09)
        assert all_of(heard) == []
        nursery.cancel_scope.cancel()


class SlowLight(StatusLight):
    """A light whose udev takes until something else in the loop has happened."""

    def __init__(self) -> None:
        super().__init__(())
        self.handed_over = threading.Event()
        self.was_handed_over = False

    def shows(self, what: Shown) -> bool:
        return False

    def show(self, what: Shown) -> None:
        self.was_handed_over = self.handed_over.wait(5)


async def test_the_loop_goes_on_while_udev_hands_a_light_over() -> None:
    light = SlowLight()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(show_on, light, Shown.ATTENTION)
        await trio.testing.wait_all_tasks_blocked()
        light.handed_over.set()
    assert light.was_handed_over
