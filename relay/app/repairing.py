"""`relay doctor --repair`: the repair of a state folder that no box holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from relay.app.house import TABLES, unlock
from relay.base.config import Config
from relay.base.errors import DamagedError, RelayError
from relay.rooms.matrix import soundness
from relay.store.files import OS_FILES, FileLayer
from relay.store.index import Index
from relay.store.index_file import IndexFile
from relay.store.names import Names
from relay.store.opening import StateFolder
from relay.store.read_only import ReadOnlyFiles
from relay.store.repair import Repaired, Soundness, repair
from relay.store.replay import open_both
from relay.store.segments import SEGMENT_BYTES


def repair_house(
    folder: Path, config: Config, files: FileLayer = OS_FILES, segment_bytes: int = SEGMENT_BYTES
) -> Repaired:
    """Repair the state folder; see `relay.store.repair`.

    Raises:
        StateLockedError: a box holds it.
        WrongKeyError: it does not open with this key.
        DamagedError: there is nothing to go on from; nothing was changed.
    """
    here = str(config.server.name)

    def fits(file: IndexFile, number: int, params: Sequence[Any]) -> bool:
        return soundness.fits(Index(file, Names(file), 0), here, number, params)

    with files.lock(folder):
        state = StateFolder(
            folder=folder,
            keys=unlock(folder, config.store),
            tables=TABLES,
            config=config.store,
            files=files,
            segment_bytes=segment_bytes,
        )
        return repair(state, Soundness(soundness.SOUND, fits))


def look_at_house(folder: Path, config: Config, files: FileLayer = OS_FILES) -> RelayError | None:
    """Return why a start would not take changes in, None where it would; nothing is changed.

    Raises:
        StateLockedError: a box holds the folder.
        WrongKeyError: it does not open with this key.
    """
    if not any((folder / name).exists() for name in ("index.db", "journal")):
        return None
    with files.lock(folder):
        reading = ReadOnlyFiles(files)
        keys = unlock(folder, config.store)
        state = StateFolder(
            folder=folder, keys=keys, tables=TABLES, config=config.store, files=reading, segment_bytes=SEGMENT_BYTES
        )
        journal, index = state.journal(reading), state.index(reading, read_only=True)
        try:
            open_both(journal, index)
            for _ in journal.replay(index.sequence):
                pass
        except RelayError as error:
            return error
        except apsw.Error as error:
            return DamagedError(f"the index cannot be read: {error}")
        except OSError:
            # What a start would put right by itself.
            return None
        finally:
            index.close()
            journal.close()
            reading.close()
    return None
