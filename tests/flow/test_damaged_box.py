"""A box whose flash was damaged: it says what, keeps what fits, and other servers give back what they have."""

from pathlib import Path

import pytest
import trio

from relay.admin.advice import next_step
from relay.admin.requests import Doctor, ListUsers, Restart, Status
from relay.app import infirmary
from relay.app.house import TABLES as HOUSE_TABLES
from relay.app.house import unlock
from relay.app.infirmary import Infirmary, has_room, look_for_room
from relay.app.repairing import look_at_house, repair_house
from relay.app.stopping import StopAsked
from relay.base.config import Config
from relay.base.errors import DamagedError, StorageError
from relay.base.ids import RoomId, UserId
from relay.base.limits import MIB
from relay.console import words
from relay.household import accounts
from relay.household.faults import UnknownTokenError
from relay.household.sessions import Sessions
from relay.household.tables import TABLES as HOUSEHOLD_TABLES
from relay.rooms.matrix import soundness
from relay.rooms.matrix.exchange.catching_up import CatchingUp
from relay.rooms.matrix.tables import TABLES
from relay.store import faults
from relay.store.files import OS_FILES, OsFile, OsFiles
from relay.store.frame import BLOCK_BYTES, HEADER_BYTES, read_header
from relay.store.index import Index
from relay.store.ledger import open_ledger
from relay.store.names import Names
from relay.store.opening import StateFolder
from relay.store.repair import Repaired, Soundness, repair
from tests.fakes.boxes import Box, Town
from tests.fakes.clock import FakeClock
from tests.fakes.faulty_files import FullFiles
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, SMALL_STORE, memory_ledger

pytestmark = pytest.mark.usefixtures("autojump_clock")


def spoil(files: MemoryFiles, sequence: int) -> None:
    """Flip a bit in every frame of one commit."""
    for path, content in files.contents.items():
        for offset in range(0, len(content) if "segment" in path else 0, BLOCK_BYTES):
            header = read_header(bytes(content[offset : offset + HEADER_BYTES]))
            if header is not None and header.sequence == sequence:
                content[offset + HEADER_BYTES + 9] ^= 1


def mend(files: MemoryFiles, here: str) -> Repaired:
    state = StateFolder(
        folder=FOLDER,
        keys=KEYRING,
        tables=(TABLES,),
        config=SMALL_STORE,
        files=files,
        segment_bytes=SEGMENT_BYTES,
    )
    sound = Soundness(
        soundness.SOUND,
        lambda file, number, params: soundness.fits(Index(file, Names(file), 0), here, number, params),
    )
    return repair(state, sound)


async def catch_up(box: Box, town: Town) -> None:
    catching_up = CatchingUp(box.ledger, peers=box.peers, receiver=box.receiver, server=box.name)
    with trio.move_on_after(600):
        await catching_up.run()
    await town.settle()


async def test_what_a_hole_swallowed_of_a_shared_room_comes_back_from_the_other_server() -> None:
    town, files = Town(), MemoryFiles()
    texts = [f"message {number}" for number in range(8)]
    async with town.box("far.example") as far:
        bob = far.user("bob")
        async with town.box("home.example", files) as home:
            room = await far.create(bob)
            await home.joining.join(home.user("ann"), room, [far.name])
            await home.ledger.checkpoint()
            for text in texts:
                await far.say(room, bob, text)
                await far.push()
            spoilt = home.ledger.sequence - 3
            cut = files.copy()
        spoil(cut, spoilt)
        async with town.box("home.example", cut) as home:
            assert home.ledger.status().fault_code == "storage.journal_hole"
            assert home.ledger.incomplete
            shown = await home.bodies(room)
            assert shown == texts[: len(shown)]
            assert len(shown) < len(texts)
            with pytest.raises(StorageError):
                await home.say(room, home.user("ann"), "refused")
        done = mend(cut, "home.example")
        assert done.lost == [(spoilt, spoilt)]
        assert done.left_out
        async with town.box("home.example", cut) as home:
            assert home.ledger.healthy
            assert len(await home.bodies(room)) < len(texts)
            await catch_up(home, town)
            assert sorted(await home.bodies(room)) == texts
            # And the room goes on both ways.
            await home.say(room, home.user("ann"), "from home")
            await town.settle()
            assert "from home" in await far.bodies(room)


async def test_what_was_said_at_home_behind_a_hole_is_kept() -> None:
    town, files = Town(), MemoryFiles()
    async with town.box("home.example", files) as home:
        ann = home.user("ann")
        room = await home.create(ann)
        await home.ledger.checkpoint()
        sequences = []
        for number in range(6):
            await home.say(room, ann, f"{number}")
            sequences.append(home.ledger.sequence)
        cut = files.copy()
    spoil(cut, sequences[2])
    done = mend(cut, "home.example")
    assert (done.lost, done.left_out) == ([(sequences[2], sequences[2])], [])
    async with town.box("home.example", cut) as home:
        assert await home.bodies(room) == ["0", "1", "3", "4", "5"]
        await home.say(room, ann, "6")
        assert (await home.bodies(room))[-1] == "6"


async def test_a_room_whose_beginning_was_lost_takes_nothing_of_it_along() -> None:
    town, files = Town(), MemoryFiles()
    async with town.box("home.example", files) as home:
        ann = home.user("ann")
        kept = await home.create(ann)
        await home.ledger.checkpoint()
        lost = await home.create(ann)
        sequence = home.ledger.sequence
        await home.say(lost, ann, "in a room that is gone")
        await home.say(kept, ann, "in a room that is there")
        cut = files.copy()
    spoil(cut, sequence)
    assert len(mend(cut, "home.example").left_out) == 1
    async with town.box("home.example", cut) as home:
        assert await home.bodies(kept) == ["in a room that is there"]
        assert await home.ledger.read(lambda index: index.find(str(lost))) is None
        assert await home.create(ann) not in (kept, RoomId(""))


async def test_a_token_that_damage_may_have_swallowed_is_not_called_unknown() -> None:
    files, clock = MemoryFiles(), FakeClock()
    async with memory_ledger(HOUSEHOLD_TABLES, files=files) as ledger:
        for number in range(3):
            await ledger.run(accounts.create, UserId(f"@u{number}:home.example"), "hash", 1)
        cut = files.copy()
    sound = cut.copy()
    spoil(cut, 2)
    async with memory_ledger(HOUSEHOLD_TABLES, files=cut) as ledger:
        with pytest.raises(StorageError, match="may have forgotten"):
            await Sessions(ledger, clock).authenticate("a token")
    async with memory_ledger(HOUSEHOLD_TABLES, files=sound) as ledger:
        with pytest.raises(UnknownTokenError):
            await Sessions(ledger, clock).authenticate("a token")


async def test_a_box_that_can_serve_nothing_says_why_and_what_next() -> None:
    fault, stop = DamagedError("index.db is damaged"), StopAsked()
    infirmary = Infirmary(fault, stop, "home.example")
    (finding,) = (await infirmary.carry_out(Doctor()))["findings"]
    assert finding["level"] == "fault"
    assert "index.db is damaged" in finding["what"]
    assert "relay backup restore" in finding["next_step"]
    status = await infirmary.carry_out(Status())
    assert status["ledger"]["fault_code"] == "storage.damaged"
    assert (status["running"], status["server"]) == (False, "home.example")
    told = "\n".join(words.status(status))
    assert "home.example: safe mode, nobody is served: index.db is damaged\nnext: relay backup restore" in told
    assert "factory-reset" in told
    with pytest.raises(DamagedError):
        await infirmary.carry_out(ListUsers())
    assert await infirmary.carry_out(Restart()) == {"stopping": True}
    assert (stop.restart, stop.asked.is_set()) == (True, True)


def test_every_fault_of_the_store_has_a_next_step_of_its_own() -> None:
    kinds = [kind for kind in vars(faults).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    codes = {kind.code for kind in kinds if kind.__module__ == faults.__name__ and hasattr(kind, "code")}
    assert len(codes) >= 8
    assert all(next_step(code) != next_step("nothing of the kind") for code in codes)


def test_room_is_found_out_by_writing(tmp_path: Path) -> None:
    full = FullFiles(0)
    assert not has_room(FOLDER, full)
    full.room = True
    assert has_room(FOLDER, full)
    assert has_room(tmp_path, OS_FILES)
    assert list(tmp_path.iterdir()) == []


def test_where_the_file_system_says_that_it_is_full_nothing_is_written_to_find_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Written(OsFiles):
        def open(self, path: Path, *, create: bool = False) -> OsFile:
            raise AssertionError(path)

    monkeypatch.setattr(infirmary, "free_bytes", lambda _folder: 2 * MIB - 1)
    assert not has_room(tmp_path, Written())


async def test_a_start_that_finds_no_room_where_there_seems_to_be_some_does_not_follow_the_other_at_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    stop, begun_s = StopAsked(), autojump_clock.current_time()
    await look_for_room(tmp_path, stop)
    assert stop.restart
    assert autojump_clock.current_time() - begun_s >= 30


async def test_doctor_looks_at_a_stopped_box_and_repairs_it(tmp_path: Path) -> None:
    config = Config.parse({"server": {"name": "home.example"}, "store": {"key_file": str(tmp_path / "key")}})
    folder = tmp_path / "state"
    folder.mkdir()
    async with open_ledger(folder, unlock(folder, config.store), HOUSE_TABLES, config.store) as ledger:
        for number in range(4):
            await ledger.run(accounts.create, UserId(f"@u{number}:home.example"), "hash", 1)
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "index.db-shm"]
        copies = {path: path.read_bytes() for path in files}
    (folder / "index.db-wal").unlink(missing_ok=True)
    for path, content in copies.items():
        path.write_bytes(content)
    segment = folder / "journal" / "segment-00"
    damaged = bytearray(segment.read_bytes())
    damaged[2 * BLOCK_BYTES + 200] ^= 1
    segment.write_bytes(damaged)
    fault = look_at_house(folder, config)
    assert fault is not None
    assert str(fault) == "commit 3 of the journal cannot be read: segment 0 from byte 8192 to byte 12288"
    assert "relay doctor --repair" in next_step(fault.code)
    lines = repair_house(folder, config).lines()
    assert "lost: commit 3" in lines
    assert look_at_house(folder, config) is None
    assert repair_house(folder, config).lines() == ["nothing to repair"]
