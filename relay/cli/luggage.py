"""The sealed file in which a person takes an account along: written page by page, read twice, believed only whole."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from relay.base.errors import DamagedError, InvalidInputError
from relay.base.limits import MAX_LUGGAGE_PAGE_BYTES
from relay.cli.files import sync_folder
from relay.delivery.moving.departing import FORMAT
from relay.household.luggage import Record
from relay.store.archive import ArchiveReader, ArchiveWriter
from relay.store.archive_key import KeyParameters, Secret
from relay.store.packing import pack

_READ_BYTES = 64 * 1024


@dataclass(slots=True)
class Contents:
    """What a file holds, as far as it matters before it is unpacked.

    Attributes:
        user: whose account it was.
        default_key: the id of the default key of the secret storage, empty for none.
        backups: the identities of the key backups.
        rooms: what is known of each room.
        counts: how many records of each kind there are.
    """

    user: str = ""
    default_key: str = ""
    backups: list[bytes] = field(default_factory=list)
    rooms: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Note one record."""
        match record:
            case ["account", {"user": str(user), "format": int(number)}]:
                if number > FORMAT:
                    raise InvalidInputError(f"a newer release packed this: format {number}, this one knows {FORMAT}")
                self.user = user
            case ["data", None, "m.secret_storage.default_key", {"key": str(key)}]:
                self.default_key = key
            case ["backup", bytes(name), *_]:
                self.backups.append(name)
            case ["room", dict(card)]:
                self.rooms.append(card)
        kind, more = str(record[0]), len(record[2]) if record[0] == "keys" else 1
        self.counts[kind] = self.counts.get(kind, 0) + more


class LuggageWriter:
    """Seals records into a file that appears whole or not at all, or into a pipe."""

    def __init__(self, path: Path | None, pipe: BinaryIO, secret: Secret) -> None:
        self._path = path
        self._part = None if path is None else path.with_name(path.name + ".part")
        self._out: BinaryIO | None = pipe if self._part is None else None
        self._archive = ArchiveWriter(secret.fresh())
        self.contents = Contents()
        self.size_bytes = 0

    def add(self, records: list[Record]) -> None:
        """Seal `records`."""
        for record in records:
            self.contents.take(record)
            self._write(self._archive.add(record))

    def finish(self) -> None:
        """Write the end, without which the file counts as cut off."""
        out = self._write(self._archive.finish())
        out.flush()
        if self._path is not None and self._part is not None:
            os.fsync(out.fileno())
            out.close()
            self._part.rename(self._path)
            sync_folder(self._path.absolute().parent)

    def discard(self) -> None:
        """Leave nothing of a file that did not get whole."""
        if self._part is not None and self._out is not None:
            self._out.close()
            self._part.unlink(missing_ok=True)

    def _write(self, data: bytes) -> BinaryIO:
        if self._out is None:
            assert self._part is not None
            self._out = _create(self._part)
        self._out.write(data)
        self.size_bytes += len(data)
        return self._out


def _create(path: Path) -> BinaryIO:
    path.unlink(missing_ok=True)
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


class Luggage:
    """A sealed file that was read once and found whole.

    Attributes:
        contents: what it holds.
    """

    def __init__(self, file: BinaryIO, secret: Secret) -> None:
        """Read all of `file`, which can be read again.

        Raises:
            DamagedError: it is damaged, cut off or of something else; the message names the byte.
            WrongKeyError, ConfigError: it was sealed with another key.
        """
        self._file = file
        self._key = b""

        def unlock(parameters: KeyParameters) -> bytes:
            self._key = secret.key(parameters)
            return self._key

        self.contents = Contents()
        for record in _records(file, unlock):
            if not self.contents.counts and record[0] != "account":
                raise DamagedError("this sealed file is of another kind: it holds no account, at byte 0")
            self.contents.take(record)
        if not self.contents.user:
            raise DamagedError("the file holds no account")

    def pages(self) -> Iterator[list[Record]]:
        """Yield its records, in pages of about `MAX_LUGGAGE_PAGE_BYTES`."""
        page: list[Record] = []
        size_bytes = 0
        for record in _records(self._file, lambda _: self._key):
            more_bytes = len(pack(record))
            if page and size_bytes + more_bytes > MAX_LUGGAGE_PAGE_BYTES:
                yield page
                page, size_bytes = [], 0
            page.append(record)
            size_bytes += more_bytes
        yield page


def _records(file: BinaryIO, unlock: Callable[[KeyParameters], bytes]) -> Iterator[Record]:
    file.seek(0)
    reader = ArchiveReader(unlock)
    while data := file.read(_READ_BYTES):
        yield from reader.feed(data)
    reader.close()
