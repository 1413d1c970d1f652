"""Opening a state folder: as a start does, or beside damage, to read what is intact."""

import contextlib
import dataclasses
import secrets
from collections.abc import Sequence
from pathlib import Path

import apsw

from relay.base.config import StoreConfig
from relay.base.errors import DamagedError, NewerFormatError, RelayError, StorageError, WrongKeyError
from relay.base.log import get_logger
from relay.store.faults import IndexLostError, IndexMixedError
from relay.store.files import FileLayer
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.keyring import Keyring
from relay.store.names import Names
from relay.store.read_only import ReadOnlyFiles
from relay.store.replay import recover, replay_readable
from relay.store.tables import STORE_TABLES, Tables, newest_format
from relay.store.upgrade import UpgradeError

# Nothing intact is behind these, or another release or key can do what this one cannot.
_HOPELESS = (WrongKeyError, NewerFormatError, UpgradeError, IndexLostError, IndexMixedError)

log = get_logger()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StateFolder:
    """Where the state is, and what it is opened with."""

    folder: Path
    keys: Keyring
    tables: Sequence[Tables]
    config: StoreConfig
    files: FileLayer
    segment_bytes: int

    @property
    def newest_format(self) -> int:
        """Return the format of this release."""
        return newest_format((STORE_TABLES, *self.tables))

    def journal(self, files: FileLayer, *, tolerant: bool = False) -> Journal:
        """Return the journal, not yet open."""
        return Journal(
            files,
            self.folder / "journal",
            self.keys.journal_key,
            segments=self.config.journal_segments,
            segment_bytes=self.segment_bytes,
            newest_format=self.newest_format,
            tolerant=tolerant,
        )

    def index(self, files: FileLayer, *, read_only: bool = False) -> IndexFile:
        """Return the index, not yet open."""
        tables = (STORE_TABLES, *self.tables)
        return IndexFile(self.folder / "index.db", self.keys.index_key, tables, files, read_only=read_only)


@dataclasses.dataclass(slots=True, kw_only=True)
class OpenState:
    """Journal and index, open.

    Attributes:
        position: the number that the changes of this start follow.
        replayed: whether the index must be made durable.
        fault: why nothing may be taken in, None where all is well.
    """

    journal: Journal
    index: IndexFile
    names: Names
    position: int
    replayed: bool
    fault: RelayError | None = None
    read_only: ReadOnlyFiles | None = None

    def close(self) -> None:
        """Close the files."""
        self.index.close()
        self.journal.close()
        if self.read_only is not None:
            self.read_only.close()


def open_state(state: StateFolder) -> OpenState:
    """Open for reading and writing; where that cannot be, for reading what is intact, and nothing on flash is changed.

    Raises:
        DamagedError, StorageError, WrongKeyError: there is nothing that could be read.
    """
    try:
        try:
            return _open_to_write(state)
        except StorageError:
            # A card that refused once is asked once more; nothing was changed.
            return _open_to_write(state)
    except RelayError as fault:
        return _open_to_read(state, fault)


def _open_to_write(state: StateFolder) -> OpenState:
    journal, index = state.journal(state.files), state.index(state.files)
    try:
        position, replayed = recover(journal, index)
        names = Names(index)
        names.load()
    except (RelayError, apsw.Error) as error:
        with contextlib.suppress(apsw.Error):
            index.close()
        journal.close()
        if isinstance(error, RelayError):
            raise
        raise DamagedError(f"the index cannot be read: {error}") from error
    return OpenState(journal=journal, index=index, names=names, position=position, replayed=replayed)


def _open_to_read(state: StateFolder, fault: RelayError) -> OpenState:
    if isinstance(fault, _HOPELESS):
        raise fault
    files = ReadOnlyFiles(state.files)
    journal, index = state.journal(files, tolerant=True), state.index(files, read_only=True)
    opened = OpenState(
        journal=journal,
        index=index,
        names=Names(index),
        position=0,
        replayed=False,
        fault=fault,
        read_only=files,
    )
    try:
        if not index.exists:
            raise fault
        index.open()
        if index.format < index.newest_format:
            raise fault
        opened.position = index.position
        with contextlib.suppress(DamagedError):
            journal.open(may_make=False)
            opened.position = replay_readable(index, journal)
        opened.names.load()
    except (RelayError, OSError, apsw.Error) as error:
        with contextlib.suppress(apsw.Error):
            opened.close()
        raise fault from error
    # Nothing is written, so the next start has no way to know that this one was: a number nobody else draws.
    journal.lend_boot(2**36 + secrets.randbits(36))
    log.error("store.opened_to_read", code=fault.code, sequence=journal.sequence)
    return opened
