"""A backup restored into a new folder, recorded: whole or not at all, at every cut."""

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import trio

from relay.app.house import MEDIA_FOLDER, TABLES, Flash
from relay.app.restoring import Restorer
from relay.base.errors import RelayError
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.keyring import Keyring, open_keyring
from relay.store.media_files import MediaFiles, SealedFile
from relay.store.replay import recover
from relay.store.tables import STORE_TABLES
from tests.crash.power_cut import restart
from tests.crash.scenarios import Scenario, Source
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import SEGMENT_BYTES, InlineWorkers
from tests.fakes.moving import CONFIG, back_up, keep_file, records_of, small_house, write_mail

TARGET = Path("/boxes/state")
PICTURE = b"picture" * 20_000
_SOURCE = Source(b"r" * 32)
_SMALL = {"tls/cert.pem": b"a certificate", "relay.toml": CONFIG.render().encode()}
_CHANGING = ("applied", "one_time_keys", "to_device_seen")


@functools.cache
def restored() -> Scenario:
    """A backup becomes a state folder; what a cut leaves of the attempt is in nobody's way."""
    records, expected, file = _backed_up()
    files = restart({"/boxes/neighbour": b"was there before"}, recording=True)
    _restore(files, records)
    files.unregister()
    done = len(files.events)

    def broken(contents: dict[str, bytes], cut: int) -> list[str]:
        inside = [path for path in contents if path.startswith(f"{TARGET}/")]
        if not inside:
            return ["the restored box is lost"] if cut >= done else _broken_again(contents)
        return _wrong_with(contents, expected, file)

    def _broken_again(contents: dict[str, bytes]) -> list[str]:
        again = restart(contents)
        try:
            _restore(again, records)
        except RelayError as error:
            return [f"another attempt is refused: {error}"]
        finally:
            again.unregister()
        return []

    return Scenario("restored", files.events, broken, {"/boxes/neighbour": b"was there before"})


def _backed_up() -> tuple[Sequence[list[Any]], dict[str, Any], SealedFile]:
    async def live(folder: Path) -> tuple[bytes, dict[str, Any], SealedFile]:
        async with small_house(folder) as house:
            await house.ledger.run(write_mail, 0, 40)
            file = await keep_file(house, PICTURE)
            sealed, _ = await back_up(house)
            return sealed, await house.ledger.read(_tables), file

    with tempfile.TemporaryDirectory() as parent:
        sealed, expected, file = trio.run(live, Path(parent) / "old")
    return records_of(sealed), expected, file


def _restore(files: MemoryFiles, records: Sequence[list[Any]]) -> None:
    flash = Flash(files=files, workers=InlineWorkers(), segment_bytes=SEGMENT_BYTES)
    with Restorer(TARGET, {}, source=_SOURCE, flash=flash).building() as restorer:
        for record in records:
            restorer.take(record)
        restorer.finish()


def _is_small_file_good(files: MemoryFiles, name: str) -> bool:
    return bytes(files.contents.get(str(TARGET / name), b"")) == _SMALL[name]


def _tables(index: Any) -> dict[str, Any]:
    names = [name for (name,) in index.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return {name: index.rows(f"SELECT * FROM {name}") for name in names if name not in _CHANGING}


def _wrong_with(contents: dict[str, bytes], expected: dict[str, Any], file: SealedFile) -> list[str]:
    files = restart(contents)
    try:
        return _looked_at(files, open_keyring(TARGET, _SOURCE, files=files), expected, file)
    except (RelayError, apsw.Error) as error:
        return [f"{type(error).__name__}: {error}"]
    finally:
        files.unregister()


def _looked_at(files: MemoryFiles, keys: Keyring, expected: dict[str, Any], file: SealedFile) -> list[str]:
    count = CONFIG.store.journal_segments
    journal = Journal(files, TARGET / "journal", keys.journal_key, segments=count, segment_bytes=SEGMENT_BYTES)
    index = IndexFile(TARGET / "index.db", keys.index_key, (STORE_TABLES, *TABLES), files)
    media = MediaFiles(TARGET / MEDIA_FOLDER, quota_bytes=1 << 30, files=files, workers=InlineWorkers())

    async def read() -> bytes:
        return b"".join([piece async for piece in media.read(file)])

    try:
        recover(journal, index)
        found = _tables(index)
        wrong = [f"table {name} is not as it was" for name, rows in expected.items() if found.get(name) != rows]
        wrong += [f"{name} is not as it was" for name in _SMALL if not _is_small_file_good(files, name)]
        return wrong if trio.run(read) == PICTURE else [*wrong, "a file is not whole"]
    finally:
        index.close()
        journal.close()
