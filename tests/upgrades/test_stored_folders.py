"""The stored data folder of each released version, opened by the present code: everything is there, and stays there."""

import dataclasses
import hashlib
import json
import random  # noqa: TID251 - a seeded generator: the same states every time
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from relay.app.family import family_door
from relay.app.house import TABLES, House, open_house
from relay.app.network import Network, open_network
from relay.app.operator import HousePeople
from relay.app.version import VERSION
from relay.base.config import Config, TlsConfig, load
from relay.base.errors import NewerFormatError
from relay.delivery.outbox.queue import all_standings
from relay.store.files import OS_FILES
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.keyring import KeyFile, Keyring, open_keyring
from relay.store.replay import recover
from relay.store.root_page import page_format
from relay.store.segments import read_pages
from relay.store.tables import STATE_FORMAT, STORE_TABLES, layout_digest, number_operations
from tests.crash.power_cut import Flash, Weather, restart
from tests.fakes.files import MemoryFiles
from tests.fakes.formats import layout
from tests.fakes.http import make_request, whole_body
from tests.fakes.ledger import FOLDER

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STORED = sorted(path.parent for path in HERE.glob("*/about.json"))
EVERY = (STORE_TABLES, *TABLES)
# What tells when an answer was given, not what is stored.
PASSING = {"age", "next_batch", "prev_batch", "start", "end", "last_seen_ts", "last_seen_ip"}

each_release = pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)


def about(stored: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((stored / "about.json").read_text("utf-8"))
    return known


def unpack(stored: Path, folder: Path) -> Config:
    """Return the settings of the folder, which is `folder/state` then."""
    with tarfile.open(stored / "folder.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    config = load(folder / "state")
    key_file = str(folder / "root.key")
    return dataclasses.replace(config, tls=TlsConfig(), store=dataclasses.replace(config.store, key_file=key_file))


def released_versions() -> set[str]:
    """Return every version that the change log calls released, and the one this code says it is."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    return {VERSION, *re.findall(r"^## \[?(\d+\.\d+\.\d+)", text, re.MULTILINE)}


def test_every_released_version_has_its_stored_folder() -> None:
    missing = released_versions() - {path.name for path in STORED}
    assert not missing, f"run `python -m tests.upgrades.make` in the checkout of {', '.join(sorted(missing))}"


@each_release
def test_tables_and_operations_of_a_released_format_never_change(stored: Path) -> None:
    known = about(stored)
    operations = number_operations(EVERY)
    assert set(known["operations"]) <= set(operations), "an operation that a journal may hold is gone"
    if known["format"] == STATE_FORMAT:
        hint = f"{known['version']} has this format: add a Migration({STATE_FORMAT + 1}) to STORE_TABLES"
        assert layout_digest(EVERY).hex() == known["layout"], hint
        assert sorted(operations) == known["operations"], hint
    assert known["format"] <= STATE_FORMAT


def test_every_operation_ever_written_still_fits_the_tables() -> None:
    index = IndexFile(FOLDER / "index.db", b"k" * 32, EVERY, MemoryFiles())
    index.open()
    for operation in index.operations.values():
        places = re.findall(r"\?(\d*)", operation.sql)
        count = max(map(int, places)) if all(places) and places else len(places)
        index.rows(f"EXPLAIN {operation.sql}", [None] * count)
    index.close()


class Home:
    """An old folder, opened."""

    def __init__(self, house: House, network: Network) -> None:
        self.house = house
        self.network = network
        self.door = family_door(house, network)

    async def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        answer = await self.door.answer(make_request(method, f"/_matrix/client/{path}", body=body, token=token))
        assert answer.status == 200, (path, answer.body)
        return json.loads(await whole_body(answer))


@asynccontextmanager
async def opened(folder: Path, config: Config) -> AsyncIterator[Home]:
    async with open_house(folder / "state", config) as house:
        yield Home(house, await open_network(house))


def lacking(was: Any, now: Any, where: str = "") -> Iterator[str]:
    """Yield what `was` holds and `now` does not."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name, value in was.items():
            if name not in PASSING:
                yield from lacking(value, now.get(name), f"{where}.{name}")
    elif isinstance(was, list) and isinstance(now, list):
        for item in was:
            if all(next(lacking(item, other), None) for other in now):
                yield f"{where}: {item}"
    elif was != now:
        yield f"{where}: {was} became {now}"


@each_release
async def test_apps_see_all_they_saw(stored: Path, tmp_path: Path) -> None:
    known, config = about(stored), unpack(stored, tmp_path)
    for start in range(2):
        async with opened(tmp_path, config) as home:
            assert home.house.ledger.boot == known["boot"] + 1 + start
            assert home.house.ledger.position >= known["position"]
            for person in known["people"].values():
                for asked in person["answers"]:
                    now = await home.ask(asked["method"], asked["path"], asked["body"], person["token"])
                    assert list(lacking(asked["answer"], now, asked["path"])) == []
                    if "chunk" in now:
                        order = [[event["event_id"] for event in one["chunk"]] for one in (asked["answer"], now)]
                        assert order[0] == order[1]
            waiting = await home.house.ledger.read(all_standings)
            for outbox in known["outboxes"]:
                assert waiting[outbox["server"]].queued_bytes >= outbox["to_device_bytes"] > 0


@each_release
async def test_files_passwords_and_the_signing_key_are_the_old_ones(stored: Path, tmp_path: Path) -> None:
    known, config = about(stored), unpack(stored, tmp_path)
    anna = known["people"]["anna"]
    async with opened(tmp_path, config) as home:
        profile = await home.ask("GET", f"v3/profile/{quote(anna['user'])}")
        path = f"/_matrix/client/v1/media/download/{profile['avatar_url'].removeprefix('mxc://')}"
        file = await whole_body(await home.door.answer(make_request("GET", path, token=anna["token"])))
        assert file == hashlib.shake_256(b"picture").digest(20_000)
        identifier = {"type": "m.id.user", "user": "otto"}
        login = {"type": "m.login.password", "identifier": identifier, "password": known["password"]}
        assert (await home.ask("POST", "v3/login", login))["user_id"] == known["people"]["otto"]["user"]
        assert [person.user for person in await HousePeople(home.house, None).listed()] == [
            person["user"] for person in known["people"].values()
        ]
        keys = await home.network.federation.answer(make_request("GET", "/_matrix/key/v2/server"))
        assert json.loads(await whole_body(keys))["verify_keys"] == known["signing_key"]


@each_release
async def test_it_is_of_this_format_then_and_goes_on(stored: Path, tmp_path: Path) -> None:
    known, config = about(stored), unpack(stored, tmp_path)
    anna = known["people"]["anna"]
    async with opened(tmp_path, config) as home:
        pages = read_pages(OS_FILES, tmp_path / "state" / "journal")
        assert {page_format(page) for page in pages} == {STATE_FORMAT}
        await home.ask("PUT", f"v3/profile/{quote(anna['user'])}/displayname", {"displayname": "new"}, anna["token"])
    async with opened(tmp_path, config) as home:
        assert (await home.ask("GET", f"v3/profile/{quote(anna['user'])}"))["displayname"] == "new"


def in_memory(stored: Path, folder: Path) -> tuple[dict[str, bytes], Keyring, int]:
    """Return the journal and index of a stored folder, its keys and the size of a segment."""
    unpack(stored, folder)
    state = folder / "state"
    keys = open_keyring(state, KeyFile(folder / "root.key"))
    paths = [*(state / "journal").iterdir(), state / "index.db", state / "index.db-wal"]
    contents = {str(FOLDER / path.relative_to(state)): path.read_bytes() for path in paths if path.exists()}
    # What stands behind the frames of a segment is zeros: less of them makes many restarts quick.
    segments = [path for path in contents if "segment" in path]
    most = max(len(contents[path].rstrip(b"\0")) for path in segments)
    segment_bytes = (most // 65_536 + 4) * 65_536
    return {p: c[:segment_bytes] if p in segments else c for p, c in contents.items()}, keys, segment_bytes


def start(files: MemoryFiles, keys: Keyring, segment_bytes: int) -> tuple[IndexFile, Journal]:
    journal = Journal(files, FOLDER / "journal", keys.journal_key, segments=4, segment_bytes=segment_bytes)
    index = IndexFile(FOLDER / "index.db", keys.index_key, EVERY, files)
    recover(journal, index)
    return index, journal


def rows_of(index: IndexFile) -> dict[str, str]:
    """Return a digest of every table's rows, but for those that count starts."""
    names = index.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'applied'")
    return {
        name: hashlib.sha256(repr(sorted(map(repr, index.rows(f'SELECT * FROM "{name}"')))).encode()).hexdigest()
        for (name,) in names
    }


@each_release
def test_no_power_cut_of_its_upgrade_loses_a_row(stored: Path, tmp_path: Path) -> None:
    before, keys, segment_bytes = in_memory(stored, tmp_path)
    files = restart(before, recording=True)
    index, journal = start(files, keys, segment_bytes)
    expected = rows_of(index)
    fresh, _ = start(MemoryFiles(), keys, segment_bytes)
    assert layout(index) == layout(fresh)
    index.close()
    journal.close()
    chance = random.Random(1)
    flash = Flash(before)
    for cut, event in enumerate(files.events):
        flash.play(event)
        if cut % 3 and event.kind != "sync":
            continue
        again = restart(flash.after_cut((Weather.SECTORS, Weather.WRITES)[cut % 2], chance))
        index, journal = start(again, keys, segment_bytes)
        assert rows_of(index) == expected, f"cut {cut}"
        index.close()
        journal.close()
        again.unregister()
    files.unregister()


@each_release
def test_the_stored_folder_itself_is_never_changed_by_a_refusal(stored: Path, tmp_path: Path) -> None:
    config = unpack(stored, tmp_path)
    root = tmp_path / "state" / "journal" / "root.a"
    other = root.with_name("root.b")
    for page in (root, other):
        content = bytearray(page.read_bytes())
        content[4:6] = (STATE_FORMAT + 5).to_bytes(2, "little")
        page.write_bytes(content)
    before = {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}

    async def refused() -> None:
        async with open_house(tmp_path / "state", config):
            pass

    with pytest.raises(NewerFormatError, match=f"format {STATE_FORMAT + 5}, this release knows {STATE_FORMAT}"):
        trio.run(refused)
    assert {path: path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()} == before
