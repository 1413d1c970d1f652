"""Arbitrary damage to the files of a state folder: the truth, or a clear fault with its place; never a silent loss.

The oracle knows what was acknowledged, in which commit, and with which content. A box that opens well must show all
of it. One that does not must say why, show nothing untrue, and a repair must name every commit it could not keep.
The one thing nobody can tell: last commits of which not a single block is left look like commits never made.
"""

import dataclasses
import hashlib
import random  # noqa: TID251 - a seeded generator: the same damage every time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.errors import DamagedError, RelayError
from relay.store.faults import JournalHoleError
from relay.store.frame import BLOCK_BYTES, HEADER_BYTES, read_header
from relay.store.index import Index
from relay.store.journal import Journal
from relay.store.keyring import KeyFile, create_keyring, open_keyring
from relay.store.opening import StateFolder
from relay.store.repair import Repaired, Soundness, repair
from tests.crash.workload import CONFIG, TABLES, put
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, memory_ledger

pytestmark = pytest.mark.slow

NOTES = 60
Contents = dict[str, bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Life:
    """What a box was told and acknowledged, and its files at the end and at moments before."""

    commits: dict[int, int]
    end: Contents
    before: list[Contents]


def text_of(number: int) -> bytes:
    return hashlib.shake_128(str(number).encode()).digest(9_000 if number % 6 == 0 else 400)


@pytest.fixture(scope="module")
def life() -> Life:
    """Return the life of a box killed in the middle of its traffic: its journal reaches over three segments."""
    files = MemoryFiles()
    commits: dict[int, int] = {}
    before: list[Contents] = []

    async def live() -> Contents:
        async with memory_ledger(TABLES, files=files, config=CONFIG) as ledger:
            for number in range(NOTES):
                await ledger.run(put, number, text_of(number))
                commits[number] = ledger.sequence
                if number in (12, 25):
                    await ledger.checkpoint()
                if number % 7 == 0:
                    before.append(frozen(files))
            return frozen(files)

    end = trio.run(live)
    files.unregister()
    return Life(commits, end, before)


def frozen(files: MemoryFiles) -> Contents:
    return {path: bytes(content) for path, content in files.contents.items()}


def thawed(contents: Contents) -> MemoryFiles:
    files = MemoryFiles()
    files.contents = {path: bytearray(content) for path, content in contents.items()}
    return files


def damaged(life: Life, chance: random.Random) -> MemoryFiles:
    files = thawed(life.end)
    for _ in range(chance.choice([1, 1, 2])):
        path = chance.choice(sorted(files.contents))
        _MUTATIONS[chance.choice(sorted(_MUTATIONS))](files, path, chance, life)
    return files


def flip(files: MemoryFiles, path: str, chance: random.Random, _life: Life) -> None:
    content = files.contents[path]
    # Near what matters as often as anywhere: most of a segment is zeros.
    used = len(content.rstrip(b"\0")) or len(content)
    for _ in range(chance.randint(1, 5) if content else 0):
        content[chance.randrange(chance.choice([used, len(content)]))] ^= chance.randint(1, 255)


def cut(files: MemoryFiles, path: str, chance: random.Random, _life: Life) -> None:
    del files.contents[path][chance.randint(0, len(files.contents[path])) :]


def zero(files: MemoryFiles, path: str, chance: random.Random, _life: Life) -> None:
    start = block(files, path, chance)
    size = BLOCK_BYTES * chance.randint(1, 4)
    end = min(start + size, len(files.contents[path]))
    files.contents[path][start:end] = bytes(end - start)


def fill(files: MemoryFiles, path: str, chance: random.Random, _life: Life) -> None:
    start = block(files, path, chance)
    size = min(chance.randint(1, BLOCK_BYTES), len(files.contents[path]) - start)
    files.contents[path][start : start + size] = chance.randbytes(size)


def swap(files: MemoryFiles, path: str, chance: random.Random, _life: Life) -> None:
    content, one, two = files.contents[path], block(files, path, chance), block(files, path, chance)
    if max(one, two) + BLOCK_BYTES <= len(content) and one != two:
        first, second = content[one : one + BLOCK_BYTES], content[two : two + BLOCK_BYTES]
        content[one : one + BLOCK_BYTES], content[two : two + BLOCK_BYTES] = second, first


def duplicate(files: MemoryFiles, path: str, chance: random.Random, _life: Life) -> None:
    other = chance.choice(sorted(files.contents))
    source, target = block(files, path, chance), block(files, other, chance)
    piece = files.contents[path][source : source + BLOCK_BYTES]
    size = min(len(piece), len(files.contents[other]) - target)
    files.contents[other][target : target + size] = piece[:size]


def remove(files: MemoryFiles, path: str, _chance: random.Random, _life: Life) -> None:
    del files.contents[path]
    files.contents.setdefault("/state/keyring", bytearray())


def stale(files: MemoryFiles, path: str, chance: random.Random, life: Life) -> None:
    old = chance.choice(life.before)
    names = [path.replace("root.a", "root.b"), path.replace("root.b", "root.a")] if "root." in path else [path]
    for name in names:
        if name in old:
            files.contents[name] = bytearray(old[name])


_MUTATIONS = {mutation.__name__: mutation for mutation in (flip, cut, zero, fill, swap, duplicate, remove, stale)}


def block(files: MemoryFiles, path: str, chance: random.Random) -> int:
    used = len(files.contents[path].rstrip(b"\0")) // BLOCK_BYTES
    return chance.randint(0, used) * BLOCK_BYTES if len(files.contents[path]) >= BLOCK_BYTES else 0


def traces(files: MemoryFiles) -> int:
    """Return the newest commit that any block of the journal names."""
    newest = 0
    for path, content in files.contents.items():
        for offset in range(0, len(content) if "segment" in path else 0, BLOCK_BYTES):
            header = read_header(bytes(content[offset : offset + HEADER_BYTES]))
            newest = max(newest, header.sequence if header is not None and header.sequence <= NOTES else 0)
    return newest


@dataclasses.dataclass(slots=True)
class Seen:
    """What one opening showed."""

    notes: dict[int, bytes] = dataclasses.field(default_factory=dict)
    fault: str = ""
    loose_end: str = ""


def look(files: MemoryFiles) -> Seen:
    """Open the box and read everything; an error in words is a fault."""
    seen = Seen()

    async def read() -> None:
        try:
            async with memory_ledger(TABLES, files=files, config=CONFIG) as ledger:
                seen.fault, seen.loose_end = ledger.status().fault, ledger.status().loose_end
                seen.notes = await ledger.read(rows)
        except RelayError as error:
            seen.fault = str(error)

    trio.run(read, clock=trio.testing.MockClock(autojump_threshold=0))
    return seen


def rows(index: Index) -> dict[int, bytes]:
    found = index.rows("SELECT n.id, n.text, c.digest FROM notes n LEFT JOIN checks c USING (id)")
    assert all(digest == hashlib.sha256(text).digest() for _, text, digest in found), "a note is there by half"
    return {number: text for number, text, _ in found}


def silent_losses(life: Life, files: MemoryFiles) -> list[str]:
    """Return what is wrong with how a box takes this damage, and a repair of it."""
    newest = traces(files)
    seen = look(files)
    wrong = [f"note {number} is not what was said" for number, text in seen.notes.items() if text != text_of(number)]
    missing = {life.commits[number] for number in life.commits.keys() - seen.notes.keys()}
    if seen.fault:
        return wrong + list(_badly_repaired(life, files))
    if seen.loose_end:
        missing.discard(max(life.commits.values()))
    return wrong + [f"commit {commit} is silently lost" for commit in sorted(missing) if commit <= newest]


def _badly_repaired(life: Life, files: MemoryFiles) -> Iterator[str]:
    state = StateFolder(
        folder=FOLDER, keys=KEYRING, tables=(TABLES,), config=CONFIG, files=files, segment_bytes=SEGMENT_BYTES
    )
    newest = traces(files)
    try:
        done = repair(state, Soundness((), lambda _index, _number, _params: True))
    except DamagedError:
        return
    seen = look(files)
    if seen.fault:
        if done.fault:
            yield f"repaired, and still: {seen.fault}"
        return
    named = _named(done)
    for number in life.commits.keys() - seen.notes.keys():
        if life.commits[number] not in named and life.commits[number] <= newest:
            yield f"commit {life.commits[number]} is lost and not named by the repair"
    yield from (f"note {number} is garbled" for number, text in seen.notes.items() if text != text_of(number))


def _named(done: Repaired) -> set[int]:
    ranges = {commit for first, last in done.lost for commit in range(first, last + 1)}
    return ranges | {commit for commit, _ in done.left_out}


@pytest.mark.parametrize("batch", range(8))
def test_no_damage_is_a_silent_loss(life: Life, batch: int) -> None:
    for seed in range(batch * 60, (batch + 1) * 60):
        files = damaged(life, random.Random(seed))
        assert silent_losses(life, files) == [], f"seed {seed}"
        files.unregister()


def test_the_oracle_notices_a_box_that_takes_a_hole_for_the_end(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Journal.replay

    def careless(self: Journal, after: int, up_to: int | None = None) -> Iterator[tuple[int, bytes]]:
        try:
            yield from whole(self, after, up_to)
        except JournalHoleError:
            return

    monkeypatch.setattr(Journal, "replay", careless)
    found = []
    for seed in range(120):
        files = damaged(life, random.Random(seed))
        found += silent_losses(life, files)
        files.unregister()
    assert any("silently lost" in text for text in found)


@given(content=st.binary(max_size=300))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_arbitrary_keyring_file_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    (tmp_path / "keyring").write_bytes(content)
    with pytest.raises(RelayError):
        open_keyring(tmp_path, KeyFile(key))


def test_a_flipped_bit_anywhere_in_the_keyring_is_noticed(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    create_keyring(tmp_path, KeyFile(key))
    whole = (tmp_path / "keyring").read_bytes()
    for place in range(len(whole)):
        (tmp_path / "keyring").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RelayError):
            open_keyring(tmp_path, KeyFile(key))
