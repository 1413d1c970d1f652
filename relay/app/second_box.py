"""A second box out of what the first one's standby left elsewhere: base, commits, files, and a word on what is missing.

The new folder has keys of its own, and with them an id of its own: both boxes may have the same target.
"""

import contextlib
import dataclasses
import secrets
import struct
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import trio

from relay.app.house import MEDIA_FOLDER, TABLES
from relay.app.restoring import Restorer
from relay.base.clock import SystemClock
from relay.base.config import StandbyConfig
from relay.base.errors import ConflictError, DamagedError, NotFoundError
from relay.delivery.standby.opening import open_target
from relay.delivery.standby.reading import DamagedCopyError, Follower, Reader, list_copies
from relay.delivery.standby.records import Item, Origin, OwnFile
from relay.delivery.standby.target import Target
from relay.store.chunks import Chunk, Reached, Schema
from relay.store.files import OS_FILES
from relay.store.index_file import IndexFile
from relay.store.keyring import Keyring
from relay.store.rebuild import apply_commits
from relay.store.tables import STORE_TABLES

_SPOOL = "frames.spool"
_LENGTH = struct.Struct("<I")
_ROOMS = (STORE_TABLES, *TABLES)


@dataclasses.dataclass(slots=True)
class Found:
    """What the second box holds, and what it lacks.

    Attributes:
        held, held_ms: the last commit it holds, and when the first box sent it.
        newest, newest_ms: the last commit the first box spoke of, and when.
        missing_files: ids of files that people sent and that were not at the target.
        damage: why it ends where it does, empty where nothing is damaged.
    """

    server: str = ""
    base: int = 0
    held: int = 0
    held_ms: int = 0
    newest: int = 0
    newest_ms: int = 0
    files: int = 0
    missing_files: list[str] = dataclasses.field(default_factory=list)
    damage: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the copy is.

    Attributes:
        folder: what file names in `settings` are relative to.
        box: the id of the first box, empty where the target holds one box only.
        accept_loss: whether damage ends the copy there, instead of refusing it.
    """

    settings: StandbyConfig
    folder: Path
    key: bytes
    box: str = ""
    accept_loss: bool = False


def make_second_box(source: Source, restorer: Restorer) -> Found:
    """Fill and finish `restorer` with what is at the target.

    Raises:
        UnreachableError, PeerRefusedError: the target cannot be asked.
        NotFoundError: it holds no box, or no whole base of it.
        ConflictError: it holds several boxes, and none was chosen.
        DamagedCopyError: something there is damaged or another's; nothing was made.
    """
    found = Found()
    follower, fetched = trio.run(_fetch, source, restorer, found)
    needed: list[str] = []

    def follow(path: Path, key: bytes, reached: Reached) -> Reached:
        commits = _spooled(restorer.folder / _SPOOL, follower)
        position, sequence = apply_commits(path, key, _ROOMS, commits)
        (restorer.folder / _SPOOL).unlink()
        needed.extend(_needed_files(path, key))
        found.held = sequence
        return dataclasses.replace(reached, position=position, sequence=sequence)

    restorer.finish(follow)
    found.missing_files = [file_id for file_id in needed if file_id not in fetched]
    found.files = len(needed) - len(found.missing_files)
    return found


async def _fetch(source: Source, restorer: Restorer, found: Found) -> tuple[Follower, frozenset[str]]:
    async with open_target(source.settings, source.folder, SystemClock()) as target:
        reader = Reader(target, source.key, await _choose(target, source.box))
        await reader.open()
        await _fetch_base(reader, restorer, found)
        await _fetch_frames(reader, restorer, found, accept_loss=source.accept_loss)
        fetched = await _fetch_files(reader, restorer, accept_loss=source.accept_loss)
        restorer.take(["end", len(fetched)])
        found.newest, found.newest_ms = reader.newest, reader.newest_ms
        return reader.follower(), frozenset(fetched)


async def _choose(target: Target, box: str) -> bytes:
    copies = await list_copies(target)
    if box:
        return bytes.fromhex(box)
    whole = [copy for copy in copies if copy.base is not None]
    if not whole:
        raise NotFoundError("the target holds no whole copy of a box")
    if len(whole) > 1:
        names = ", ".join(copy.box.hex() for copy in whole)
        raise ConflictError(
            f"the target holds several boxes, the one that lived last first: {names}; choose with --box"
        )
    return whole[0].box


async def _fetch_base(reader: Reader, restorer: Restorer, found: Found) -> None:
    keys = Keyring(*(secrets.token_bytes(32) for _ in dataclasses.fields(Keyring)))
    async with contextlib.aclosing(reader.base()) as items:
        async for item in items:
            if isinstance(item, Origin) and not found.server:
                found.server = item.server
                restorer.take(["backup", _head(item, reader.chunk_key)])
                restorer.take(["keyring", dataclasses.asdict(keys)])
            elif not isinstance(item, Origin):
                restorer.take(_record(item))
            if isinstance(item, Reached):
                found.base = item.sequence
    if not found.server:
        raise DamagedError("the base does not say which box it is of")


async def _fetch_frames(reader: Reader, restorer: Restorer, found: Found, *, accept_loss: bool) -> None:
    """Keep the frames as they are, sealed, until the index they belong on is whole."""
    follower = reader.follower()
    async with contextlib.aclosing(reader.frames()) as frames:
        with (restorer.folder / _SPOOL).open("wb") as spool:
            async for data in frames:
                try:
                    head, _ = follower.feed(data)
                except DamagedCopyError as error:
                    if not accept_loss:
                        raise
                    found.damage = found.damage or str(error)
                    continue
                # What comes after damage is not taken; it still tells how much is missing.
                reader.note(head)
                if not found.damage:
                    spool.write(_LENGTH.pack(len(data)) + data)
                    found.held, found.held_ms = follower.held, follower.held_ms


def _spooled(path: Path, follower: Follower) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as spool:
        while length := spool.read(_LENGTH.size):
            _, commits = follower.feed(spool.read(*_LENGTH.unpack(length)))
            yield from commits


async def _fetch_files(reader: Reader, restorer: Restorer, *, accept_loss: bool) -> list[str]:
    """Return the ids of the files that were fetched."""
    fetched = []
    for file_id in await reader.file_ids():
        try:
            async with contextlib.aclosing(_media_records(reader, file_id)) as records:
                async for record in records:
                    restorer.take(record)
            fetched.append(file_id)
        except DamagedCopyError:
            if not accept_loss:
                raise
            (restorer.folder / MEDIA_FOLDER / file_id).unlink(missing_ok=True)
    return fetched


async def _media_records(reader: Reader, file_id: str) -> AsyncGenerator[list[Any], None]:
    offset, last = 0, b""
    async with contextlib.aclosing(reader.file(file_id)) as pieces:
        async for piece in pieces:
            if last:
                yield ["media", file_id, offset, last, False]
                offset += len(last)
            last = piece
    yield ["media", file_id, offset, last, True]


def _head(origin: Origin, chunk_key: bytes) -> dict[str, Any]:
    return {
        "version": origin.version,
        "server": origin.server,
        "made_ms": 0,
        "id": secrets.token_bytes(16),
        "parent": b"",
        "number": 0,
        "chunk_key": chunk_key,
        "settings": origin.settings,
    }


def _record(item: Item) -> list[Any]:
    match item:
        case Schema():
            return ["schema", *item.pack()]
        case Chunk():
            return ["rows", item.table, item.low and list(item.low), item.high and list(item.high), item.packed]
        case Reached():
            return ["reached", item.position, item.sequence, item.boot, item.digest]
        case OwnFile():
            return ["file", item.name, item.mode, item.content]
        case Origin():
            raise DamagedError("the base says twice which box it is of")


def _needed_files(path: Path, key: bytes) -> list[str]:
    index = IndexFile(path, key, _ROOMS, OS_FILES)
    try:
        index.open()
        return [file_id for (file_id,) in index.rows("SELECT file_id FROM media WHERE file_id IS NOT NULL")]
    finally:
        index.close()
