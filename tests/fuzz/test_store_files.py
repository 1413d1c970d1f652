"""Arbitrary damage to the files of a state folder: a named error or the truth, no other error, no garbled rows."""

import contextlib
import random  # noqa: TID251 - a seeded generator: the same damage every time
from pathlib import Path

import apsw
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.base.errors import RelayError
from relay.store.index import Index
from relay.store.keyring import KeyFile, create_keyring, open_keyring
from tests.crash.workload import TABLES, look, play
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import memory_ledger

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sound() -> dict[str, bytes]:
    """Return the files of a box killed in the middle of its traffic."""
    files = MemoryFiles(recording=True)
    trio.run(play, files, 0, 5)
    return {path: bytes(content) for path, content in files.contents.items()}


@pytest.mark.parametrize("batch", range(4))
def test_damaged_files_give_a_named_error_or_the_truth(sound: dict[str, bytes], batch: int) -> None:
    for seed in range(batch * 40, (batch + 1) * 40):
        chance = random.Random(seed)
        files = MemoryFiles()
        files.contents = {path: bytearray(content) for path, content in sound.items()}
        path = chance.choice(sorted(path for path in sound if "/media/" not in path))
        damage(files, path, chance)
        try:
            with contextlib.suppress(RelayError):
                trio.run(open_and_read, files)
            look(files)
        except (RelayError, apsw.CorruptError) as error:
            # `look` asks SQLite itself; whoever asks through the ledger gets a named error.
            assert isinstance(error, RelayError) or "/index.db" in path
        finally:
            files.unregister()


def damage(files: MemoryFiles, path: str, chance: random.Random) -> None:
    content = files.contents[path]
    match chance.choice(["flip", "flip", "cut", "fill", "remove"]):
        case "flip":
            for _ in range(chance.randint(1, 5) if content else 0):
                content[chance.randrange(len(content))] ^= chance.randint(1, 255)
        case "cut":
            del content[chance.randint(0, len(content)) :]
        case "fill":
            start = chance.randint(0, len(content))
            content[start : start + 4096] = chance.randbytes(chance.randint(1, 4096))
        case _:
            del files.contents[path]


async def open_and_read(files: MemoryFiles) -> None:
    async with memory_ledger(TABLES, files=files) as ledger:
        await ledger.read(check_rows)


def check_rows(index: Index) -> None:
    for number, name in index.rows("SELECT n.id, m.text FROM notes n JOIN names m ON m.number = n.sender"):
        assert name == f"@user{number % 7}:example"


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
