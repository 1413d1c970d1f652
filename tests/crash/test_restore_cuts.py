"""Power cuts at every write of a restore: afterwards there is no box at all, or the whole one."""

import dataclasses
import random  # noqa: TID251 - a seeded generator: the same states every time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from relay.app.house import MEDIA_FOLDER, Flash
from relay.app.restoring import IndexRestorer, Restorer
from relay.base.errors import RelayError
from relay.store.index import Index
from relay.store.keyring import open_keyring
from relay.store.ledger import open_ledger
from relay.store.media_files import MediaFiles, SealedFile
from tests.crash.power_cut import Flash as Card
from tests.crash.power_cut import Weather, restart, without
from tests.fakes.files import Event, MemoryFiles
from tests.fakes.ledger import SEGMENT_BYTES, InlineWorkers
from tests.fakes.moving import CONFIG, TABLES, back_up, keep_file, records_of, small_house, write_mail

pytestmark = pytest.mark.slow

FOLDER = Path("/boxes/new")
WEATHERS = (Weather.SECTORS, Weather.WRITES, Weather.NOTHING, Weather.EVERYTHING)
CUTS = 300
PICTURE = b"picture" * 30_000


class FixedSource:
    """A root key without a file."""

    def parameters(self) -> dict[str, Any]:
        return {"kind": "fixed"}

    def root_key(self, parameters: dict[str, Any]) -> bytes:
        return b"r" * 32


@dataclasses.dataclass(frozen=True)
class Original:
    records: list[list[Any]]
    rows: dict[str, Any]
    file: SealedFile


def rows_of(index: Index) -> dict[str, Any]:
    names = [row[0] for row in index.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return {
        name: index.rows(f"SELECT * FROM {name}")
        for name in names
        if name not in ("applied", "one_time_keys", "to_device_seen")
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    async def make() -> Original:
        async with small_house(tmp_path_factory.mktemp("box") / "old") as house:
            await house.ledger.run(write_mail, 0, 150)
            file = await keep_file(house, PICTURE)
            sealed, _ = await back_up(house)
            later = house.ledger.read(rows_of)
            return Original(records_of(sealed), await later, file)

    return trio.run(make)


def flash_on(files: MemoryFiles) -> Flash:
    return Flash(files=files, workers=InlineWorkers(), segment_bytes=SEGMENT_BYTES)


def restore(files: MemoryFiles, records: list[list[Any]]) -> None:
    with Restorer(FOLDER, {}, source=FixedSource(), flash=flash_on(files)).building() as restorer:
        for record in records:
            restorer.take(record)
        restorer.finish()


def wrong_with(files: MemoryFiles, original: Original) -> str:
    """Return what is wrong with what a restart finds, or nothing."""
    if not files.exists(FOLDER):
        return ""
    try:
        return trio.run(look, files, original)
    except (RelayError, apsw.Error, KeyError) as error:
        return f"{type(error).__name__}: {error}"


async def look(files: MemoryFiles, original: Original) -> str:
    keys = open_keyring(FOLDER, FixedSource(), files=files)
    settings = bytes(files.contents[str(FOLDER / "relay.toml")])
    if settings.decode() != CONFIG.render() or not files.exists(FOLDER / "tls" / "cert.pem"):
        return "settings or certificate are not whole"
    async with open_ledger(
        FOLDER, keys, TABLES, CONFIG.store, files=files, workers=InlineWorkers(), segment_bytes=SEGMENT_BYTES
    ) as ledger:
        if await ledger.read(rows_of) != original.rows:
            return "rows are missing"
        if ledger.boot < 1 << 16 or ledger.position < 1 << 32:
            return "numbers come again"
    media = MediaFiles(FOLDER / MEDIA_FOLDER, quota_bytes=1 << 30, files=files, workers=InlineWorkers())
    if b"".join([piece async for piece in media.read(original.file)]) != PICTURE:
        return "a file is not whole"
    return ""


def cut_many(
    events: Sequence[Event],
    original: Original,
    cuts: Iterable[int],
    *,
    weathers: Sequence[Weather] = WEATHERS,
    again: int = 0,
) -> list[str]:
    """Return what is wrong after the cuts, each after so many events."""
    chance = random.Random(1)
    card, played = Card(), 0
    wrong = []
    for number, cut in enumerate(sorted(cuts)):
        for event in events[played:cut]:
            card.play(event)
        played = cut
        weather = weathers[number % len(weathers)]
        files = restart(card.after_cut(weather, chance))
        there = files.exists(FOLDER)
        found = wrong_with(files, original)
        if not there and cut == len(events):
            found = "the box is gone after all was said to be done"
        if again and number % again == 0 and not there:
            restore(files, original.records)
            found = found or wrong_with(files, original)
        if found:
            wrong.append(f"cut {cut}, {weather.name}: {found}")
        files.unregister()
    return wrong


@pytest.fixture(scope="module")
def events(original: Original) -> list[Event]:
    files = MemoryFiles(recording=True)
    restore(files, original.records)
    assert wrong_with(files, original) == ""
    files.unregister()
    return files.events


def end_of(events: Sequence[Event]) -> int:
    """Return the place of the rename that makes the box be there."""
    return next(number for number, event in enumerate(events) if event.target == str(FOLDER))


def test_no_cut_leaves_half_a_box(events: list[Event], original: Original) -> None:
    end = next(number for number, event in enumerate(events) if event.target == str(FOLDER))
    spread = random.Random(2).sample(range(len(events)), min(CUTS, len(events)))
    assert cut_many(events, original, {*spread, *range(end - 20, len(events) + 1)}, again=40) == []
    for weather in WEATHERS:
        assert cut_many(events, original, [len(events)], weathers=[weather]) == []


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("sync", "*/index.db"),
        ("sync", "*/keyring.new"),
        ("sync", "*/relay.toml"),
        ("sync", "*/media/*"),
        ("sync_folder", "/boxes/new.restoring*"),
        ("sync_folder", "/boxes"),
    ],
)
def test_without_one_of_the_syncs_losses_are_found(
    events: list[Event], original: Original, kind: str, pattern: str
) -> None:
    careless = without(events, kind, pattern)
    assert cut_many(careless, original, [len(careless)], weathers=[Weather.NOTHING])


def test_an_index_that_is_put_back_is_the_old_one_or_the_new_one(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = MemoryFiles()
    restore(whole, original.records)
    before = {path: bytes(content) for path, content in whole.contents.items()}
    whole.unregister()
    files = restart(before, recording=True)
    with IndexRestorer(FOLDER, FixedSource(), flash=flash_on(files)).building() as restorer:
        for record in original.records:
            restorer.take(record)
        restorer.finish()
    files.unregister()
    card, chance = Card(before), random.Random(3)
    for number, event in enumerate(files.events):
        card.play(event)
        state = restart(card.after_cut(WEATHERS[number % 4], chance))
        if state.exists(FOLDER / "index.db"):
            log = state.exists(FOLDER / "index.db-wal") and state.contents[str(FOLDER / "index.db-wal")]
            index = state.contents[str(FOLDER / "index.db")]
            assert not log or index == bytearray(before[str(FOLDER / "index.db")])
        state.unregister()
