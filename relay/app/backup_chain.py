"""What may stand in a backup, in which order, and how backups that build on each other follow."""

import dataclasses
from typing import Any

from relay.base.errors import ConflictError, DamagedError
from relay.store.chunks import Reached
from relay.store.rebuild import read_reached


@dataclasses.dataclass(frozen=True, slots=True)
class BackupHead:
    """What a backup says of itself first.

    Attributes:
        version: the release that made it.
        backup_id: what the next one names as its parent.
        parent: the backup this one builds on, empty for a full one.
        settings: what must change in the settings, because files were brought along.
    """

    version: str
    server: str
    made_ms: int
    backup_id: bytes
    parent: bytes
    number: int
    chunk_key: bytes
    settings: dict[str, str]

    @classmethod
    def read(cls, record: list[Any]) -> "BackupHead":
        """Return the head that a record spells.

        Raises:
            DamagedError: no backup begins like this.
        """
        match record:
            case [
                "backup",
                {
                    "version": str(version),
                    "server": str(server),
                    "made_ms": int(made_ms),
                    "id": bytes(backup_id),
                    "parent": bytes(parent),
                    "number": int(number),
                    "chunk_key": bytes(chunk_key),
                    "settings": dict(settings),
                },
            ]:
                return cls(version, server, made_ms, backup_id, parent, number, chunk_key, settings)
        raise DamagedError("the backup does not begin with what it is")


@dataclasses.dataclass(slots=True)
class Contents:
    """What was found in one or several backups that build on each other."""

    head: BackupHead | None = None
    backups: int = 0
    files: int = 0
    rows_bytes: int = 0
    media_files: int = 0
    media_bytes: int = 0
    reached: Reached | None = None


class Chain:
    """The order of records within a backup, and of backups that build on each other, checked as they come."""

    def __init__(self) -> None:
        self.contents = Contents()
        self._open = False
        self._count = 0
        self._media: tuple[str, int] | None = None

    def take(self, record: list[Any]) -> None:
        """Check that `record` may come next, and count it.

        Raises:
            DamagedError: it may not.
            ConflictError: the backup does not continue the one before.
        """
        contents = self.contents
        match record:
            case ["backup", _]:
                self._begin(BackupHead.read(record))
            case _ if not self._open:
                raise DamagedError("the backup does not begin with what it is")
            case ["file", str(), int(), bytes()]:
                contents.files += 1
            case ["keyring", dict()] | ["schema", dict(), list(), int()]:
                pass
            case ["rows", str(), _, _, bytes(packed)]:
                contents.rows_bytes += len(packed)
            case ["media", str(name), int(offset), bytes(content), bool(whole)]:
                self._take_media(name, offset, len(content), whole=whole)
            case ["reached", *fields]:
                contents.reached = read_reached(fields)
            case ["end", int(count)]:
                self._end(count)
            case _:
                raise DamagedError(f"the backup holds something that this release does not know: {record[0]!r:.40}")

    def close(self) -> None:
        """Say that no more backups come.

        Raises:
            DamagedError: there was none.
        """
        if self._open or self.contents.reached is None:
            raise DamagedError("the backup is not whole")

    def _begin(self, head: BackupHead) -> None:
        last = self.contents.head
        if self._open:
            raise DamagedError("a backup begins inside of another")
        if last is None and head.parent:
            raise ConflictError(
                f"this backup builds on backup {head.parent.hex()[:8]}: give that one first, then all after it in order"
            )
        if last is not None and head.parent != last.backup_id:
            raise ConflictError(
                f"backup {head.backup_id.hex()[:8]} does not continue backup {last.backup_id.hex()[:8]}:"
                f" it builds on {head.parent.hex()[:8] or 'nothing'}"
            )
        self.contents.head = head
        self.contents.backups += 1
        self.contents.reached = None
        self.contents.files = 0
        self._open = True
        self._count = 0

    def _take_media(self, name: str, offset: int, size_bytes: int, *, whole: bool) -> None:
        # One that was deleted while it was read stops in the middle, and another begins.
        expected = self._media[1] if self._media is not None and self._media[0] == name else 0
        if offset != expected or not is_media_name(name):
            raise DamagedError("a media file of the backup is not in order")
        self._media = None if whole else (name, offset + size_bytes)
        self.contents.media_bytes += size_bytes
        if whole:
            self.contents.media_files += 1
            self._count += 1

    def _end(self, count: int) -> None:
        if count != self._count or self.contents.reached is None:
            raise DamagedError("the backup lacks a part of what it says it holds")
        self._open = False


def is_media_name(name: str) -> bool:
    """Return whether a media file can have this name."""
    return len(name) == 32 and all(letter in "0123456789abcdef" for letter in name)
