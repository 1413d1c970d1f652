"""Recordings of everything that writes to a state folder, each with the check of what a restart may find."""

import contextlib
import dataclasses
import fnmatch
import functools
import random  # noqa: TID251 - a seeded generator: the same states every time
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from relay.base.config import StoreConfig
from relay.base.errors import RelayError
from relay.cli import reset
from relay.store.catalogue import Catalogue, keep_catalogue, read_catalogue, write_catalogue
from relay.store.chunks import Chunk, Picture, Reached, Schema
from relay.store.files import OS_FILES
from relay.store.keyring import (
    BEFORE,
    FILE_NAME,
    KeyFile,
    Keyring,
    create_keyring,
    open_keyring,
    rewrap_keyring,
    settle_keyring,
    wrap_keyring,
)
from relay.store.rebuild import IndexBuilder, make_journal
from tests.crash.power_cut import Flash, Weather, restart
from tests.crash.test_upgrade_cuts import look, old_box, recorded_upgrade
from tests.crash.workload import CONFIG, TABLES, Acknowledged, broken_promises, flood, play
from tests.fakes.files import Event, Kind, MemoryFiles
from tests.fakes.formats import NEW, OLD
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, memory_ledger
from tests.fakes.recorded_folder import RecordedFolder, write_out

WEATHERS = (Weather.SECTORS, Weather.SECTORS, Weather.WRITES, Weather.NOTHING, Weather.EVERYTHING)
ROUNDS = 16
_SOON = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610)
_NO_EVENT = Event("sync_folder", "/nowhere")


@dataclasses.dataclass(slots=True)
class Tried:
    """How many states were tried, and every promise that did not hold in one."""

    states: int = 0
    broken: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """One recording.

    Attributes:
        events: what was done to the file system, in order.
        broken: given what a restart finds and after how many events the cut came: every promise that does not hold.
        before: the files it began with.
        told: what a household was promised.
    """

    name: str
    events: Sequence[Event]
    broken: Callable[[dict[str, bytes], int], list[str]]
    before: dict[str, bytes] | None = None
    told: Acknowledged = dataclasses.field(default_factory=Acknowledged)

    @property
    def sites(self) -> frozenset[str]:
        """Return where its syncs came from."""
        return frozenset(event.site for event in self.events if event.site)

    def without(self, sites: Collection[str]) -> "Scenario":
        """Return the recording with the syncs of these sites taken out, their places kept."""
        return dataclasses.replace(self, events=[_NO_EVENT if event.site in sites else event for event in self.events])

    def after(self, sites: Collection[str]) -> list[int]:
        """Return cuts soon after a sync of these sites."""
        asked = [number for number, event in enumerate(self.events) if event.site in sites]
        near = {at + further for at in asked for further in _SOON} | {len(self.events)}
        return sorted(cut for cut in near if cut <= len(self.events))

    def state_after(self, cut: int, weather: Weather, seed: int) -> dict[str, bytes]:
        """Return one state that a cut may leave."""
        flash = Flash(self.before)
        for event in self.events[:cut]:
            flash.play(event)
        return flash.after_cut(weather, random.Random(seed))

    def try_cuts(
        self, cuts: Sequence[int], weathers: Sequence[Weather] = WEATHERS, *, enough: int = sys.maxsize
    ) -> Tried:
        """Try cuts, each after so many events, until `enough` promises are broken."""
        chance = random.Random(len(cuts))
        flash, played = Flash(self.before), 0
        tried = Tried()
        for number, cut in enumerate(sorted(cuts)):
            for event in self.events[played:cut]:
                flash.play(event)
            played = cut
            weather = weathers[number % len(weathers)]
            found = self.broken(flash.after_cut(weather, chance), cut)
            tried.states += 1
            tried.broken += [f"{self.name}, cut {cut}, {weather.name}: {text}" for text in found]
            if len(tried.broken) >= enough:
                break
        return tried


class FailingFiles(MemoryFiles):
    """A card that refuses some syncs: those of `pattern` whose number, from 0, is in `refused`."""

    def __init__(self, pattern: str, refused: Sequence[int]) -> None:
        super().__init__(recording=True)
        self._pattern = pattern
        self._refused = refused
        self._syncs = -1

    def before(self, kind: Kind, path: str) -> None:
        if kind == "sync" and fnmatch.fnmatch(path, self._pattern):
            self._syncs += 1
            if self._syncs in self._refused:
                raise OSError(5, "Input/output error")


@functools.cache
def household() -> Scenario:
    """A first run."""
    return _played("household", MemoryFiles(recording=True))


def failing_household(pattern: str, refused: Sequence[int]) -> Scenario:
    """A first run on a card that refuses some syncs."""
    return _played(f"{pattern} refused", FailingFiles(pattern, refused))


@functools.cache
def distrusted_log() -> Scenario:
    """A first run in which a sync of the index's log fails: the log is thrown away."""
    return failing_household("*/index.db-wal", [4])


@functools.cache
def more_segments() -> Scenario:
    """A second run, whose settings ask for more of a journal, so much that the new files are needed."""
    first = household()
    before = first.state_after(100, Weather.EVERYTHING, 1)
    files = restart(before, recording=True)
    told = first.told.later(100)
    told.take_in(trio.run(flood, files, 1_000, 9, StoreConfig(journal_segments=40, checkpoint_journal_mib=4)))
    files.unregister()
    return Scenario("more segments", files.events, _Household(told), before, told)


@functools.cache
def upgrade() -> Scenario:
    """An older release's folder becomes this one's, after a power cut; both releases look at what is left."""
    before = old_box(cleanly=False)

    def broken(contents: dict[str, bytes], _cut: int) -> list[str]:
        found: list[str] = []
        for release in (NEW, OLD):
            files = restart(contents)
            found += [look(files, release)]
            files.unregister()
        return [text for text in found if text]

    return Scenario("upgrade", recorded_upgrade(before), broken, before)


@functools.cache
def lost_roots() -> Scenario:
    """A first run in which both root pages refuse a sync: each gets another file."""
    return failing_household("*/root.?", [5, 6])


@functools.cache
def rebuilt() -> Scenario:
    """A copy of a household becomes a state folder of its own, which counts once it is complete."""
    files = MemoryFiles(recording=True)
    told = trio.run(_rebuild, files)
    files.unregister()
    return Scenario("rebuilt", files.events, _Household(told, only_after=len(files.events)), None, told)


async def _rebuild(files: MemoryFiles) -> Acknowledged:
    chunk_key = b"c" * 16
    source = MemoryFiles()
    # Rounds without files, which are carried over on their own.
    told = await play(source, 1, 3)
    async with (
        memory_ledger(TABLES, files=source, config=CONFIG) as ledger,
        contextlib.aclosing(ledger.snapshot(Picture(chunk_key))) as items,
    ):
        builder = IndexBuilder(FOLDER / "index.db", KEYRING.index_key, chunk_key, files)
        async for item in items:
            match item:
                case Schema():
                    builder.begin(item)
                case Chunk():
                    builder.put(item)
                case Reached():
                    number = builder.finish(item)
                    segments, key = CONFIG.journal_segments, KEYRING.journal_key
                    folder = FOLDER / "journal"
                    make_journal(folder, key, item, number, segments=segments, files=files, segment_bytes=SEGMENT_BYTES)
    source.unregister()
    return told.later(sys.maxsize)


@functools.cache
def threads() -> Scenario:
    """A first run in a real folder, with the box's threads and two connections to the index."""
    with _eager_threads(), tempfile.TemporaryDirectory() as parent:
        return _played("threads", RecordedFolder(Path(parent) / "state", FOLDER))


def second_cut(first: Scenario, seed: int, *, in_threads: bool = False) -> Scenario:
    """A cut somewhere in a first run, and the run after it, recovery included; both runs' promises count."""
    cut = random.Random(seed).randrange(300, len(first.events))
    before = first.state_after(cut, WEATHERS[seed % 3], seed)
    kept = first.told.later(cut)
    name = f"second cut {seed} of {first.name}"
    if not in_threads:
        return _played(name, restart(before, recording=True), before=before, kept=kept, rounds=3)
    with _eager_threads(), tempfile.TemporaryDirectory() as parent:
        folder = RecordedFolder(Path(parent) / "state", FOLDER)
        write_out(before, FOLDER, folder.root)
        return _played(name, folder, before=before, kept=kept, rounds=3)


@functools.cache
def new_keyring() -> Scenario:
    """A new state folder gets its keyring."""
    files = MemoryFiles(recording=True)
    keyring = create_keyring(FOLDER, _OLD_SOURCE, files=files)
    files.unregister()
    made = len(files.events)

    def broken(contents: dict[str, bytes], cut: int) -> list[str]:
        if cut >= made or str(FOLDER / FILE_NAME) in contents:
            return [] if _opened(contents, _OLD_SOURCE) == keyring else ["the keyring is not whole"]
        # What a cut left of the attempt is not in the way of the next.
        again = restart(contents)
        made_again = create_keyring(FOLDER, _OLD_SOURCE, files=again)
        again.unregister()
        left = {path: bytes(content) for path, content in again.contents.items()}
        return [] if _opened(left, _OLD_SOURCE) == made_again else ["the next start makes none"]

    return Scenario("new keyring", files.events, broken)


@functools.cache
def wrapped_anew() -> Scenario:
    """The same keys, wrapped by another source in place of the first."""
    first = MemoryFiles()
    keyring = create_keyring(FOLDER, _OLD_SOURCE, files=first)
    first.unregister()
    before = {path: bytes(content) for path, content in first.contents.items()}
    files = restart(before, recording=True)
    wrap_keyring(FOLDER, keyring, _NEW_SOURCE, files=files)
    files.unregister()
    wrapped = len(files.events)

    def broken(contents: dict[str, bytes], cut: int) -> list[str]:
        found = [_opened(contents, source) for source in (_OLD_SOURCE, _NEW_SOURCE)]
        good = [[None, keyring]] if cut >= wrapped else [[None, keyring], [keyring, None]]
        return [] if found in good else ["the keyring opens with neither source, or with the old one"]

    return Scenario("keyring wrapped anew", files.events, broken, before)


@functools.cache
def changed_source() -> Scenario:
    """The keys get another source: the settings name it as soon as it works."""
    first = MemoryFiles()
    keyring = create_keyring(FOLDER, _OLD_SOURCE, files=first)
    first.unregister()
    files = restart({path: bytes(content) for path, content in first.contents.items()}, recording=True)
    before = {path: bytes(content) for path, content in files.contents.items()}
    rewrap_keyring(FOLDER, keyring, _NEW_SOURCE, files=files)
    named = len(files.events)
    settle_keyring(FOLDER, _NEW_SOURCE, files=files)
    files.unregister()

    def broken(contents: dict[str, bytes], cut: int) -> list[str]:
        sources = [*([_OLD_SOURCE] * (cut <= named)), *([_NEW_SOURCE] * (cut >= named))]
        faults = ["the source that the settings name does not open" for s in sources if _opened(contents, s) != keyring]
        again = restart(contents)
        if not faults:
            settle_keyring(FOLDER, sources[0], files=again)
            faults += ["the keyring of before stays"] * again.exists(FOLDER / BEFORE)
            faults += ["it opened once"] * (open_keyring(FOLDER, sources[0], files=again) != keyring)
        again.unregister()
        return faults

    return Scenario("keys by another source", files.events, broken, before)


@functools.cache
def reset_box() -> Scenario:
    """A box that is marked for it forgets everything."""
    first = MemoryFiles()
    keyring = create_keyring(FOLDER, _OLD_SOURCE, files=first)
    first.unregister()
    rest = {"index.db": b"i" * 9_000, "journal/segment-00": b"j" * 9_000, "owner.json": b"{}", "media/0a": b"m" * 100}
    files = restart(
        {
            **{path: bytes(content) for path, content in first.contents.items()},
            **{str(FOLDER / name): content for name, content in rest.items()},
            str(FOLDER / "keyring.before"): bytes(first.contents[str(FOLDER / "keyring")]),
            str(FOLDER / "root.key"): b"k" * 32,
            str(FOLDER / "relay.toml"): b"",
            str(FOLDER / reset.MARKER): b"",
        },
        recording=True,
    )
    before = {path: bytes(content) for path, content in files.contents.items()}
    reset.empty(FOLDER, FOLDER / "root.key", files=files)
    files.unregister()
    done = len(files.events)

    def broken(contents: dict[str, bytes], cut: int) -> list[str]:
        gone = [name for name, content in rest.items() if contents.get(str(FOLDER / name)) != content]
        # Even somebody who has the root key in his hand.
        faults = ["a reset has begun to forget, and the keys open"] * (
            bool(gone) and _opened(contents, _OLD_SOURCE) == keyring
        )
        marked = str(FOLDER / reset.MARKER) in contents
        faults += ["nothing says that the reset goes on"] * (len(gone) > 0 and not marked and len(gone) < len(rest))
        again = restart(contents)
        if marked:
            reset.empty(FOLDER, FOLDER / "root.key", files=again)
        faults += ["something is left"] * bool((marked or cut >= done) and again.names(FOLDER))
        again.unregister()
        return faults

    return Scenario("reset box", files.events, broken, before)


@functools.cache
def kept_catalogue() -> Scenario:
    """A backup is made and kept: the next one builds on it."""
    first, second = (
        Catalogue(bytes([number]) * 16, number, 1_000 + number, Picture(b"c" * 16), frozenset()) for number in (1, 2)
    )
    prepared = MemoryFiles()
    write_catalogue(FOLDER, KEYRING.index_key, first, prepared)
    keep_catalogue(FOLDER, first.backup_id, prepared)
    prepared.unregister()
    before = {path: bytes(content) for path, content in prepared.contents.items()}
    files = restart(before, recording=True)
    write_catalogue(FOLDER, KEYRING.index_key, second, files)
    written = len(files.events)
    keep_catalogue(FOLDER, second.backup_id, files)
    kept = len(files.events)
    files.unregister()

    def broken(contents: dict[str, bytes], cut: int) -> list[str]:
        again = restart(contents)
        found = read_catalogue(FOLDER, KEYRING.index_key, again)
        again.unregister()
        number = None if found is None else found.number
        good = [1] if cut <= written else [2] if cut >= kept else [1, 2]
        return [] if number in good else [f"the catalogue is that of backup {number}"]

    return Scenario("kept catalogue", files.events, broken, before)


@functools.cache
def new_key_file() -> Scenario:
    """The file that holds the root key is made."""
    files = MemoryFiles(recording=True)
    path = FOLDER / "root.key"
    KeyFile(path).create(files=files)
    files.unregister()
    made = len(files.events)
    key = bytes(files.contents[str(path)])

    def broken(contents: dict[str, bytes], cut: int) -> list[str]:
        found = contents.get(str(path))
        return [] if found == key or (found is None and cut < made) else ["the key file is lost or garbled"]

    return Scenario("new key file", files.events, broken)


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Gives the same root key always."""

    key: bytes

    def parameters(self) -> dict[str, Any]:
        return {"kind": "test"}

    def root_key(self, _parameters: dict[str, Any]) -> bytes:
        return self.key


_OLD_SOURCE, _NEW_SOURCE = Source(b"o" * 32), Source(b"n" * 32)


def _opened(contents: dict[str, bytes], source: Source) -> Keyring | None:
    files = restart(contents)
    try:
        return open_keyring(FOLDER, source, files=files)
    except RelayError:
        return None
    finally:
        files.unregister()


@dataclasses.dataclass(frozen=True, slots=True)
class _Household:
    """Checks what a household was promised, once there were `only_after` events.

    With `in_folder` it does so with two connections, in a real folder.
    """

    told: Acknowledged
    in_folder: bool = False
    only_after: int = 0

    def __call__(self, contents: dict[str, bytes], cut: int) -> list[str]:
        if cut < self.only_after:
            return []
        if self.in_folder:
            with tempfile.TemporaryDirectory() as parent:
                root = Path(parent) / "state"
                write_out(contents, FOLDER, root)
                return broken_promises(OS_FILES, self.told, cut, root)
        files = restart(contents)
        try:
            return broken_promises(files, self.told, cut)
        finally:
            files.unregister()


def _played(
    name: str,
    files: MemoryFiles | RecordedFolder,
    *,
    before: dict[str, bytes] | None = None,
    kept: Acknowledged | None = None,
    rounds: int = ROUNDS,
) -> Scenario:
    told = kept or Acknowledged()
    told.take_in(trio.run(play, files, 1_000 if before else 0, rounds))
    files.unregister()
    return Scenario(name, files.events, _Household(told, isinstance(files, RecordedFolder)), before, told)


@contextlib.contextmanager
def _eager_threads() -> Iterator[None]:
    """Let threads take turns all the time, so that a copy of the index and the journal are written side by side."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)
