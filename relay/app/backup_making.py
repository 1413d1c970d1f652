"""One backup under way: what it holds, in order.

What it is, small files, keys, media files, the index as of one commit, the media files that came meanwhile.
"""

import contextlib
import dataclasses
import secrets
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import trio

from relay.app.backup_chain import is_media_name
from relay.app.folder_files import folder_files
from relay.app.house import MEDIA_FOLDER, House
from relay.app.version import VERSION
from relay.base.limits import KIB
from relay.store.archive import ArchiveWriter
from relay.store.catalogue import Catalogue, read_catalogue, write_catalogue
from relay.store.chunks import CHUNK_KEY_BYTES, Chunk, Picture, Reached, Schema

_PIECE_BYTES = 128 * KIB
_ID_BYTES = 16
_UNREADABLE = -1


@dataclasses.dataclass(slots=True)
class Progress:
    """How far a backup is, in bytes read; `expected_bytes` is a guess from file sizes."""

    done_bytes: int = 0
    expected_bytes: int = 0
    sealed_bytes: int = 0


class Making:
    """One backup under way."""

    def __init__(self, house: House, writer: ArchiveWriter, progress: Progress) -> None:
        self._house = house
        self._folder = house.folder
        self._writer = writer
        self._progress = progress
        self._id = secrets.token_bytes(_ID_BYTES)
        self._picture = Picture(secrets.token_bytes(CHUNK_KEY_BYTES))
        self._parent = b""
        self._number = 0
        self._before: frozenset[str] = frozenset()
        self._media: set[str] = set()
        self._tried: set[str] = set()
        self._reached = Reached(0, 0, 0, b"")
        self._left_out: list[str] = []

    async def prepare(self, *, since_last: bool) -> None:
        """Find out what to build on, and how much there is."""
        last = await self._work(read_catalogue, self._folder, self._house.keyring.index_key) if since_last else None
        if last is not None:
            self._picture, self._parent, self._number = last.picture, last.backup_id, last.number + 1
            self._before = last.media
        media = sum([max(size, 0) for name, size in await self._work(self._list_media) if name not in self._before])
        index = self._folder / "index.db"
        self._progress.expected_bytes = media + (await trio.Path(index).stat()).st_size

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Yield the archive."""
        files, settings, self._left_out = await self._work(folder_files, self._folder, self._house.config)
        yield await self._add(["backup", self._head(settings)])
        for file in files:
            yield await self._add(["file", file.name, file.mode, file.content])
        yield await self._add(["keyring", dataclasses.asdict(self._house.keyring)])
        async with contextlib.aclosing(self._new_media()) as pieces:
            async for piece in pieces:
                yield piece
        async with contextlib.aclosing(self._house.ledger.snapshot(self._picture)) as items:
            async for item in items:
                yield await self._add(_record(item))
                if isinstance(item, Chunk):
                    self._progress.done_bytes += len(item.packed)
                elif isinstance(item, Reached):
                    self._reached = item
        # Files of rows that came while the index was read.
        async with contextlib.aclosing(self._new_media()) as pieces:
            async for piece in pieces:
                yield piece
        yield await self._add(["end", len(self._media)])
        yield await self._work(self._writer.finish)

    async def remember(self) -> None:
        """Leave behind what the next one can build on, once this one is known to be kept."""
        media = frozenset(self._media | {name for name, _ in await self._work(self._list_media)} & self._before)
        made = Catalogue(self._id, self._number, self._house.clock.wall_ms(), self._picture, media)
        await self._work(write_catalogue, self._folder, self._house.keyring.index_key, made)

    def described(self) -> dict[str, Any]:
        """Return what the backup holds, for whoever asked for it."""
        return {
            "id": self._id.hex(),
            "parent": self._parent.hex(),
            "number": self._number,
            "server": self._house.server,
            "bytes": self._progress.sealed_bytes,
            "position": self._reached.position,
            "sequence": self._reached.sequence,
            "media_files": len(self._media),
            "left_out": self._left_out,
            "fault": self._house.ledger.status().fault,
        }

    def _head(self, settings: dict[str, str]) -> dict[str, Any]:
        return {
            "version": VERSION,
            "server": self._house.server,
            "made_ms": self._house.clock.wall_ms(),
            "id": self._id,
            "parent": self._parent,
            "number": self._number,
            "chunk_key": self._picture.chunk_key,
            "settings": settings,
        }

    async def _new_media(self) -> AsyncGenerator[bytes, None]:
        for name, size in await self._work(self._list_media):
            if name in self._before or name in self._media or name in self._tried:
                continue
            self._tried.add(name)
            if size == _UNREADABLE:
                self._left_out.append(f"{MEDIA_FOLDER}/{name}: it cannot be read")
                continue
            for offset in range(0, max(size, 1), _PIECE_BYTES):
                content = await self._work(self._read_media, name, offset)
                if content is None:
                    # Deleted just now: its row goes too, or has gone.
                    break
                whole = offset + len(content) >= size
                self._progress.done_bytes += len(content)
                yield await self._add(["media", name, offset, content, whole], squeeze=False)
                if whole:
                    self._media.add(name)

    def _list_media(self) -> list[tuple[str, int]]:
        folder, files = self._folder / MEDIA_FOLDER, self._house.flash.files
        found = []
        for name in files.names(folder):
            if is_media_name(name):
                try:
                    file = files.open(folder / name)
                    found.append((name, file.size_bytes()))
                    file.close()
                except FileNotFoundError:
                    continue
                except OSError:
                    found.append((name, _UNREADABLE))
        return found

    def _read_media(self, name: str, offset: int) -> bytes | None:
        try:
            file = self._house.flash.files.open(self._folder / MEDIA_FOLDER / name)
            try:
                return file.read(_PIECE_BYTES, offset)
            finally:
                file.close()
        except FileNotFoundError:
            return None
        except OSError as error:
            # A card that dies gives what it still has.
            self._left_out.append(f"{MEDIA_FOLDER}/{name}: {error.strerror}")
            return None

    async def _add(self, record: list[Any], *, squeeze: bool = True) -> bytes:
        sealed: bytes = await self._work(partial(self._writer.add, record, squeeze=squeeze))
        return sealed

    async def _work(self, function: Any, *args: Any) -> Any:  # noqa: ANN401 - whatever the function takes and returns
        return await self._house.flash.workers.run(function, *args)


def _record(item: Schema | Chunk | Reached) -> list[Any]:
    match item:
        case Schema():
            return ["schema", *item.pack()]
        case Chunk():
            return ["rows", item.table, item.low, item.high, item.packed]
        case Reached():
            return ["reached", item.position, item.sequence, item.boot, item.digest]
