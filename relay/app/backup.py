"""Backups of the running house: everything that is needed to open it again elsewhere, as one sealed stream."""

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Any

import trio

from relay.admin.requests import CreateBackup
from relay.app.house import House
from relay.base.errors import ConflictError, InvalidInputError, UnreachableError

if TYPE_CHECKING:
    from relay.app.backup_making import Progress


class Backups:
    """Makes backups of a house, one at a time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._progress: Progress | None = None

    def status(self) -> dict[str, Any]:
        """Return whether one is under way, and how far."""
        if self._progress is None:
            return {"running": False}
        return {"running": True, **dataclasses.asdict(self._progress)}

    async def create(self, request: CreateBackup) -> dict[str, Any]:
        """Write a backup into the pipe of `request`; return what it holds.

        Raises:
            ConflictError: another one is under way.
            UnreachableError: nobody reads the pipe any more.
            StorageError: something cannot be read.
        """
        # What makes backups is large, and most of the time nobody makes one.
        from relay.app.backup_making import Progress

        # Ours to close; whoever asked closes theirs.
        async with trio.lowlevel.FdStream(os.dup(request.descriptor)) as pipe:
            if self._progress is not None:
                raise ConflictError("a backup is under way")
            progress = self._progress = Progress()
            try:
                return await self._write(pipe, request, progress)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise UnreachableError("whoever took the backup went away before its end") from None
            finally:
                self._progress = None

    async def _write(self, pipe: trio.lowlevel.FdStream, request: CreateBackup, progress: "Progress") -> dict[str, Any]:
        from relay.app.backup_making import Making
        from relay.store.archive import ArchiveWriter
        from relay.store.archive_key import ArchiveKey, KeyParameters

        try:
            key = ArchiveKey(bytes.fromhex(request.key), KeyParameters.unpack(bytes.fromhex(request.parameters)))
        except ValueError:
            raise InvalidInputError("this is not the key of an archive") from None
        making = Making(self._house, ArchiveWriter(key), progress)
        await making.prepare(since_last=request.since_last)
        async with contextlib.aclosing(making.stream()) as pieces:
            async for piece in pieces:
                progress.sealed_bytes += len(piece)
                await pipe.send_all(piece)
        await making.remember()
        return making.described()
