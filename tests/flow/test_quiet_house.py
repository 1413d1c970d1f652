"""A whole house with nothing to do writes nothing: flash lasts as long as it is left alone.

Everything that a box does by the clock runs here: long polls, retries to a server that is gone, what is forgotten after
hours, key validity, reports to the supervisor, announcements to the neighbours, questions to a router, the book of what
is written to the card. Logs are not files of the house.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from relay.app import flash_book as app_flash_book
from relay.app import running
from relay.app.house import Flash, House
from relay.app.network import Network
from relay.app.stopping import StopAsked
from relay.base import log
from relay.box import flash_book as box_flash_book
from relay.box.flash_health import Counter
from relay.box.light import StatusLight
from relay.cli.bench.household import DEVICES, Act, Kind
from relay.cli.bench.servers import FoundBox
from relay.cli.bench.virtual import NAMES, Town, open_town
from relay.household import devices
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import SEGMENT_BYTES, InlineWorkers

HOUR_S = 3600.0
NEAR = DEVICES[0]
FAR = DEVICES[-1]


async def live(house: House, network: Network, nursery: trio.Nursery) -> None:
    """Do everything that a box that serves does, but for the signals; to be found it has no other network than this."""
    house = dataclasses.replace(house, config=house.config.with_settings(dict(FoundBox.settings)))
    nursery.start_soon(running._serve_house, house, network, StopAsked(), StatusLight(()))
    for _ in range(100):
        if network.outboxes._nursery is not None:
            break
        await trio.sleep(0.01)


def real_files(folder: Path) -> set[tuple[Path, int]]:
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter of this machine's disk goes up by what others write."""
    for module in (app_flash_book, box_flash_book):
        monkeypatch.setattr(module, "read_counter", lambda *_, **__: Counter("mmcblk0:1", 1000, 10.0))


async def idle(clock: MockClock, folder: Path, after: Callable[[Town], None], *, hours: int) -> list[str]:
    """Return what was done to files in idle hours, after some life; `after` may do something in them."""
    files = MemoryFiles(recording=True)
    flash = Flash(files=files, workers=InlineWorkers(), segment_bytes=SEGMENT_BYTES)
    done: list[str] = []
    async with open_town((folder / "near", folder / "far"), flash, trio.sleep_until, live) as town:
        await town.player.settle_in()
        clock.rate, clock.autojump_threshold = 0.0, 0.0
        async with trio.open_nursery() as apps:
            for device in (DEVICES[0], DEVICES[2], FAR):
                apps.start_soon(town.player.poll_forever, device)
            for number, (kind, device) in enumerate((kind, device) for device in (NEAR, FAR) for kind in Kind):
                await town.player.play([Act(trio.current_time() + 5, number, kind, device, 2)])
            town.off.add(NAMES[1])
            # The retries of this one go on all the time.
            await town.player.play([Act(trio.current_time() + 5, 99, Kind.SHARE_KEYS, NEAR, 2)])
            await town.player.play([Act(trio.current_time() + 5, 99, Kind.SAY, NEAR, 2)])
            await trio.sleep(HOUR_S)
            files.events.clear()
            before = real_files(folder)
            after(town)
            await trio.sleep(hours * HOUR_S)
            done = [f"{event.kind} {event.path}" for event in files.events]
            done += [f"written {path}" for path, _ in real_files(folder) ^ before]
            apps.cancel_scope.cancel()
    files.unregister()
    return done


def run(folder: Path, after: Callable[[Town], None], hours: int) -> list[str]:
    log.configure(level="error")
    clock = MockClock(rate=1.0)
    return trio.run(lambda: idle(clock, folder, after, hours=hours), clock=clock)


@pytest.mark.slow
def test_a_whole_idle_day_leaves_the_files_untouched(tmp_path: Path) -> None:
    assert run(tmp_path, lambda _: None, hours=24) == []


@pytest.mark.slow
def test_a_note_that_cannot_wait_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_TOUCH", dataclasses.replace(devices._TOUCH, patient=False))
    assert run(tmp_path, lambda _: None, hours=7) != []


@pytest.mark.slow
def test_one_message_in_a_quiet_house_is_one_commit(tmp_path: Path) -> None:
    def say(town: Town) -> None:
        trio.lowlevel.spawn_system_task(town.player.play, [Act(0, 7, Kind.SAY, NEAR, 0)])

    done = run(tmp_path, say, hours=1)
    assert [what.split()[0] for what in done] == ["write", "sync"]
    assert all("/journal/segment-" in what for what in done)
