"""Every state a power cut can leave: from a record of file operations to the files a restart may find.

The model. What a successful sync covered is on flash. Every later write may have reached flash or not, each 512-byte
sector for itself, and a sector under way may hold garbage, the old bytes beside the new ones included. Writes are
reordered freely between syncs. Names (created, renamed, removed) are durable after a sync of their folder; before that
any first part of them is. After a failed sync the bytes are in limbo for ever: a later good sync of the same file does
not bring them to flash.
"""

import dataclasses
import enum
import fnmatch
import os
import random  # noqa: TID251 - a seeded generator: the same states every time
from collections.abc import Iterable
from typing import cast

from tests.fakes.files import Event, MemoryFiles, renamed

SECTOR_BYTES = 512


class Weather(enum.Enum):
    """How cruel one cut is."""

    NOTHING = "nothing unsynced reached flash"
    EVERYTHING = "everything unsynced reached flash"
    WRITES = "each unsynced write reached flash or not"
    SECTORS = "each sector is old, new or garbage"


@dataclasses.dataclass(slots=True)
class _Inode:
    durable: bytearray
    pending: list[Event] = dataclasses.field(default_factory=list)
    limbo: list[Event] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class _Names:
    """What is listed where: files by path, and the folders made since the recording began."""

    files: dict[str, _Inode] = dataclasses.field(default_factory=dict)
    folders: set[str] = dataclasses.field(default_factory=set)

    def apply(self, event: Event, inode: _Inode | None) -> None:
        match event.kind:
            case "make_folder":
                self.folders.add(event.path)
            case "remove":
                self.files.pop(event.path, None)
            case "rename" if inode is None:
                self.files = {renamed(name, event.path, event.target): file for name, file in self.files.items()}
                self.folders = {renamed(name, event.path, event.target) for name in self.folders}
            case "rename":
                self.files.pop(event.path, None)
                self.files[event.target] = cast("_Inode", inode)
            case _:
                self.files[event.path] = cast("_Inode", inode)

    def copy(self) -> "_Names":
        return _Names(dict(self.files), set(self.folders))


class Flash:
    """What is on flash, and what is only on its way, while recorded events are played."""

    def __init__(self, contents: dict[str, bytes] | None = None) -> None:
        self._now = _Names({path: _Inode(bytearray(content)) for path, content in (contents or {}).items()})
        self._durable = self._now.copy()
        self._name_events: list[tuple[Event, _Inode | None]] = []

    def play(self, event: Event) -> None:
        """Advance by one event."""
        match event.kind:
            case "make_folder" | "create" | "rename" | "remove":
                self._play_name(event)
            case "write" | "truncate":
                self._now.files[event.path].pending.append(event)
            case "sync":
                inode = self._now.files[event.path]
                for write in inode.pending:
                    _apply(inode.durable, write)
                    inode.limbo = [old for old in inode.limbo if not _covers(write, old)]
                inode.pending.clear()
            case "failed_sync":
                inode = self._now.files[event.path]
                inode.limbo += inode.pending
                inode.pending.clear()
            case "sync_folder":
                self._sync_names(event.path)

    def _play_name(self, event: Event) -> None:
        inode = None
        if event.kind == "create":
            inode = _Inode(bytearray())
        elif event.kind == "rename":
            inode = self._now.files.get(event.path)
        self._now.apply(event, inode)
        self._name_events.append((event, inode))

    def _sync_names(self, folder: str) -> None:
        later: list[tuple[Event, _Inode | None]] = []
        for event, inode in self._name_events:
            if os.path.dirname(event.path) != folder:
                later.append((event, inode))
                continue
            self._durable.apply(event, inode)
            if event.kind == "rename" and inode is None:
                # What is not durable within the folder goes with it.
                later = [(_moved(old, event), file) for old, file in later]
        self._name_events = later

    def after_cut(self, weather: Weather, chance: random.Random) -> dict[str, bytes]:
        """Return the files as a restart may find them."""
        names = self._durable.copy()
        for event, inode in self._name_events[: _how_many(weather, chance, len(self._name_events))]:
            names.apply(event, inode)
        lost = self._made() - names.folders
        found = {path: inode for path, inode in names.files.items() if lost.isdisjoint(_folders_of(path))}
        return {path: _torn(inode, weather, chance) for path, inode in found.items()}

    def _made(self) -> set[str]:
        return self._now.folders | {event.path for event, _ in self._name_events if event.kind == "make_folder"}


def _moved(event: Event, rename: Event) -> Event:
    path, target = (renamed(name, rename.path, rename.target) for name in (event.path, event.target))
    return dataclasses.replace(event, path=path, target=target)


def _folders_of(path: str) -> set[str]:
    folders: set[str] = set()
    while (path := os.path.dirname(path)) not in folders:
        folders.add(path)
    return folders


def restart(contents: dict[str, bytes], *, recording: bool = False) -> MemoryFiles:
    """Return a file system that begins with `contents`."""
    files = MemoryFiles(recording=recording)
    files.contents = {path: bytearray(content) for path, content in contents.items()}
    return files


def without(events: Iterable[Event], kind: str, pattern: str) -> list[Event]:
    """Return the record with some events left out, their places kept: a negative control takes syncs away."""
    nothing = Event("sync_folder", "/nowhere")
    return [nothing if event.kind == kind and fnmatch.fnmatch(event.path, pattern) else event for event in events]


def _how_many(weather: Weather, chance: random.Random, count: int) -> int:
    match weather:
        case Weather.NOTHING:
            return 0
        case Weather.EVERYTHING:
            return count
        case _:
            return chance.randint(0, count)


def _apply(content: bytearray, event: Event) -> None:
    if event.kind == "truncate":
        del content[event.offset :]
        return
    _put(content, event.offset, event.data)


def _put(content: bytearray, offset: int, data: bytes | bytearray) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _covers(new: Event, old: Event) -> bool:
    return new.offset <= old.offset and new.offset + len(new.data) >= old.offset + len(old.data)


def _torn(inode: _Inode, weather: Weather, chance: random.Random) -> bytes:
    under_way = [*inode.limbo, *inode.pending]
    if not under_way or weather is Weather.NOTHING:
        return bytes(inode.durable)
    content = bytearray(inode.durable)
    for event in under_way:
        if weather is Weather.EVERYTHING:
            _apply(content, event)
        elif event.kind == "truncate" or weather is Weather.WRITES:
            if chance.random() < 0.5:
                _apply(content, event)
        else:
            _tear(content, event, chance)
    return bytes(content)


def _tear(content: bytearray, event: Event, chance: random.Random) -> None:
    first = event.offset - event.offset % SECTOR_BYTES
    end = event.offset + len(event.data)
    # The page cache writes whole sectors: the old bytes beside the new ones travel, and tear, with them.
    whole = bytearray(content[first : end - end % -SECTOR_BYTES])
    _put(whole, event.offset - first, event.data)
    rate_of_loss, rate_of_garbage = chance.choice(((0.5, 0.1), (0.1, 0.02), (0.02, 0.0)))
    for start in range(0, len(whole), SECTOR_BYTES):
        fate = chance.random()
        sector = whole[start : start + SECTOR_BYTES]
        if fate < rate_of_garbage:
            _put(content, first + start, chance.randbytes(len(sector)))
        elif fate > rate_of_loss + rate_of_garbage:
            _put(content, first + start, sector)
