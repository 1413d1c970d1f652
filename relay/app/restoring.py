"""A house out of a backup: built beside the place it is meant for, and put there by one rename when it is good."""

import contextlib
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import trio

from relay.app.backup_chain import BackupHead, Chain
from relay.app.folder_files import SETTINGS
from relay.app.house import MEDIA_FOLDER, Flash, key_source
from relay.base.config import Config
from relay.base.errors import ConfigError, ConflictError, DamagedError, KeyAbsentError, WrongKeyError
from relay.delivery.media import known_file_ids
from relay.delivery.standby.tables import forget_starts
from relay.household import device_keys, to_device
from relay.store.chunks import Chunk, Reached, Schema
from relay.store.files import FileLayer
from relay.store.keyring import Keyring, KeySource, open_keyring, wrap_keyring
from relay.store.ledger import Change
from relay.store.rebuild import IndexBuilder, make_journal

Follow = Callable[[Path, bytes, Reached], Reached]
"""Brings the index in a file, sealed with a key, on from where it stands; returns where it then stands."""

_BESIDE = ".restoring"
_LOST = "index.db.lost"


class Restorer:
    """Builds a state folder from records, in order.

    Attributes:
        contents: what was found.
    """

    def __init__(
        self, folder: Path, changes: dict[str, str], *, source: KeySource | None = None, flash: Flash | None = None
    ) -> None:
        self._target = folder
        self._source = source
        self._folder = folder.with_name(folder.name + _BESIDE)
        self._changes = changes
        self._flash = flash or Flash()
        self._files = self._flash.files
        self._chain = Chain()
        self._small: dict[str, tuple[int, bytes]] = {}
        self._keys: Keyring | None = None
        self._builder: IndexBuilder | None = None
        self.contents = self._chain.contents

    def take(self, record: list[Any]) -> None:
        """Take in the next record.

        Raises:
            DamagedError, ConflictError: it does not belong here.
            StorageError, OSError: it cannot be written.
        """
        self._chain.take(record)
        match record:
            case ["file", name, mode, content]:
                self._small[_safe(name)] = (mode, content)
            case ["keyring", keys]:
                self._take_keys(_keyring(keys))
            case ["media", name, offset, content, whole]:
                self._write_media(name, offset, content, whole=whole)
            case ["schema" | "rows", *_]:
                if self._builder is None:
                    raise DamagedError("the backup holds an index before its keys")
                put_record(self._builder, record)

    @property
    def folder(self) -> Path:
        """Return the folder that is built, until `finish` puts it in its place."""
        return self._folder

    def finish(self, follow: "Follow | None" = None) -> Config:
        """Make the folder complete and put it in its place; return its settings.

        `follow` brings the index on from the end of the backup, where commits are at hand that came after it.

        Raises:
            DamagedError: the backup lacks something, or is not what was backed up.
            ConfigError: its settings do not work here.
        """
        self._chain.close()
        reached, head = self.contents.reached, self.contents.head
        if self._builder is None or self._keys is None or reached is None or head is None:
            raise DamagedError("the backup is not whole")
        config = self._settings(head)
        for name, (mode, content) in self._small.items():
            self._write_small(self._folder / name, mode, content)
        number = self._builder.finish(reached)
        if follow is not None:
            reached = follow(self._folder / "index.db", self._keys.index_key, reached)
        make_journal(
            self._folder / "journal",
            self._keys.journal_key,
            reached,
            number,
            segments=config.store.journal_segments,
            files=self._files,
            segment_bytes=self._flash.segment_bytes,
        )
        source = self._source or self._new_source(config)
        wrap_keyring(self._folder, self._keys, source, files=self._files)
        trio.run(partial(settle_in, self._folder, self._keys, config, self._flash))
        if self._files.vfs is None:
            _give_to_owner_of(self._target, self._folder)
        self._files.sync_folder(self._folder)
        self._files.rename(self._folder, self._target)
        self._files.sync_folder(self._target.parent)
        return config

    @contextlib.contextmanager
    def building(self) -> Iterator["Restorer"]:
        """Have the folder that is built; unless `finish` put it in its place, nothing is left of it.

        Raises:
            ConflictError: there is something already where it is meant to go.
        """
        if self._files.names(self._target):
            raise ConflictError(f"{self._target} is not empty: a backup is restored into a new folder")
        if self._files.vfs is None and self._target.is_mount():
            raise ConflictError(f"{self._target} is a mount point: restore into a folder inside of it")
        _remove_folder(self._files, self._folder)
        self._files.make_folder(self._folder)
        try:
            yield self
        finally:
            if self._builder is not None:
                self._builder.close()
            _remove_folder(self._files, self._folder)

    def _take_keys(self, keys: Keyring) -> None:
        head = self.contents.head
        if head is None or (self._keys is not None and keys != self._keys):
            raise DamagedError("the keys change between backups that build on each other")
        if self._builder is None:
            self._keys = keys
            self._builder = IndexBuilder(self._folder / "index.db", keys.index_key, head.chunk_key, self._files)

    def _new_source(self, config: Config) -> KeySource:
        try:
            source = key_source(self._folder, config.store, new=True)
            # Whether it works is found out here, where words can be added.
            source.root_key(source.parameters())
        except KeyAbsentError as error:
            where = "the key of the new box cannot be where the first one's was"
            raise ConfigError(f"{where}: {error}; give --root-key-file, or --set store.key_source=...") from None
        except OSError as error:
            path = self._folder / config.store.key_file
            raise ConfigError(f"the key file {path} cannot be made ({error.strerror}): give --root-key-file") from None
        return source

    def _settings(self, head: BackupHead) -> Config:
        _mode, content = self._small.get(SETTINGS, (0o600, b""))
        try:
            config = Config.parse(tomllib.loads(content.decode()))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DamagedError(f"the settings of the backup cannot be read: {error}") from None
        if config.server.name != head.server:
            raise DamagedError("the settings of the backup are another box's")
        changed = config.with_settings({**head.settings, **self._changes})
        if changed.server != config.server:
            raise ConfigError("the server name is part of every user's and room's id: it can never change")
        self._small[SETTINGS] = (0o600, changed.render().encode())
        return changed

    def _write_small(self, path: Path, mode: int, content: bytes) -> None:
        self._files.make_folder(path.parent)
        file = self._files.open(path, create=True)
        try:
            file.write(content, 0)
            file.sync()
        finally:
            file.close()
        if self._files.vfs is None:
            path.chmod(mode)
        self._files.sync_folder(path.parent)

    def _write_media(self, name: str, offset: int, content: bytes, *, whole: bool) -> None:
        folder = self._folder / MEDIA_FOLDER
        if offset == 0:
            self._files.make_folder(folder)
            self._files.remove(folder / name)
        file = self._files.open(folder / name, create=True)
        try:
            file.write(content, offset)
            if whole:
                file.sync()
        finally:
            file.close()
        if whole:
            self._files.sync_folder(folder)


class IndexRestorer:
    """Puts only the index back into a folder that lost it; the journal there still holds what came after."""

    def __init__(self, folder: Path, source: KeySource, flash: Flash | None = None) -> None:
        self._folder = folder
        self._files = (flash or Flash()).files
        self._keys = open_keyring(folder, source, files=self._files)
        self._chain = Chain()
        self._builder: IndexBuilder | None = None
        self._path = folder / f"index.db{_BESIDE}"
        self.contents = self._chain.contents

    def take(self, record: list[Any]) -> None:
        """Take in the next record; see `Restorer.take`.

        Raises:
            WrongKeyError: the backup is another box's.
        """
        self._chain.take(record)
        match record:
            case ["keyring", keys]:
                if _keyring(keys) != self._keys:
                    raise WrongKeyError("the backup is not of this box: its keys are other ones")
                head = self.contents.head
                if self._builder is None and head is not None:
                    self._builder = IndexBuilder(self._path, self._keys.index_key, head.chunk_key, self._files)
            case ["schema" | "rows", *_] if self._builder is not None:
                put_record(self._builder, record)

    def finish(self) -> int:
        """Set the old index aside and put the new one in its place; return the journal commit it stands at."""
        self._chain.close()
        reached = self.contents.reached
        if self._builder is None or reached is None:
            raise DamagedError("the backup is not whole")
        self._builder.finish(reached)
        if self._files.vfs is None:
            _give_to_owner_of(self._folder, self._path)
        number = sum(name.startswith(_LOST) for name in self._files.names(self._folder))
        # The log of the old index must never meet the new one: it goes first, for good.
        for end in ("-shm", "-wal", ""):
            old = self._folder / f"index.db{end}"
            if self._files.exists(old):
                self._files.rename(old, self._folder / f"{_LOST}-{number}{end}")
            self._files.sync_folder(self._folder)
        self._files.rename(self._path, self._folder / "index.db")
        self._files.sync_folder(self._folder)
        return reached.sequence

    @contextlib.contextmanager
    def building(self) -> Iterator["IndexRestorer"]:
        """Hold the folder meanwhile; a half-built index does not stay.

        Raises:
            StateLockedError: the box runs.
        """
        with self._files.lock(self._folder):
            try:
                yield self
            finally:
                if self._builder is not None:
                    self._builder.close()
                self._files.remove(self._path)


async def settle_in(folder: Path, keys: Keyring, config: Config, flash: Flash) -> None:
    """Open a restored folder for the first time, and put right what cannot be as it was.

    One-time keys of now are withdrawn, what other servers sent once is remembered, media files without a row go.
    """
    async with flash.ledger(folder, keys, config) as ledger:
        await ledger.run(_move_in)
        await flash.media_files(folder, config).sweep(frozenset(await ledger.read(known_file_ids)))


def put_record(builder: IndexBuilder, record: list[Any]) -> None:
    """Give a record of kind `schema` or `rows` to `builder`.

    Raises:
        DamagedError: it is not of the index.
    """
    match record:
        case ["schema", tables, indexes, version]:
            builder.begin(Schema(dict(tables), tuple(indexes), version))
        case ["rows", table, low, high, packed]:
            builder.put(Chunk(table, _key(low), _key(high), packed, 0))
        case _:
            raise DamagedError("this is no part of an index")


def _move_in(change: Change) -> None:
    device_keys.withdraw_one_time(change)
    to_device.carry_seen(change)
    forget_starts(change)


def _key(value: Any) -> tuple[Any, ...] | None:  # noqa: ANN401 - what stood in the archive
    if value is None:
        return None
    if not isinstance(value, list):
        raise DamagedError("a range of the backup has no bounds")
    return tuple(value)


def _keyring(keys: dict[str, Any]) -> Keyring:
    try:
        return Keyring(**keys)
    except TypeError:
        raise DamagedError("the backup holds other keys than this release knows") from None


def _safe(name: str) -> str:
    parts = Path(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise DamagedError("the backup names a file outside of its folder")
    return name


def _give_to_owner_of(model: Path, path: Path) -> None:
    """Where root restores into a folder that was made for the box's own user, everything is that user's."""
    if os.geteuid() != 0 or not model.exists():
        return
    owner = model.stat()
    for found in (path, *(path.rglob("*") if path.is_dir() else ())):
        os.chown(found, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _remove_folder(files: FileLayer, folder: Path) -> None:
    if files.vfs is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in files.names(folder):
        _remove_folder(files, folder / name)
        files.remove(folder / name)
