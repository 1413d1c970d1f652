"""A base at the target: what a snapshot gives, as values and back again, and what says that it is whole."""

import dataclasses
from typing import Any

from relay.base.errors import DamagedError
from relay.store.chunks import Chunk, Reached, Schema

_SCHEMA, _CHUNK, _REACHED, _FILE, _ORIGIN = 1, 2, 3, 4, 5


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Which box the base is of.

    Attributes:
        version: its release.
        settings: what must change in its settings, because files were brought along.
    """

    version: str
    server: str
    settings: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class OwnFile:
    """One of the box's own small files outside its tables: settings, certificate."""

    name: str
    mode: int
    content: bytes


Item = Schema | Chunk | Reached | OwnFile | Origin


def record_of(item: Item) -> list[Any]:
    """Return an item of a snapshot as packable values."""
    match item:
        case Schema():
            return [_SCHEMA, *item.pack()]
        case Chunk():
            return [_CHUNK, item.table, item.low, item.high, item.packed]
        case Reached():
            return [_REACHED, item.position, item.sequence, item.boot, item.digest]
        case OwnFile():
            return [_FILE, item.name, item.mode, item.content]
        case Origin():
            return [_ORIGIN, item.version, item.server, item.settings]


def item_of(record: Any) -> Item:  # noqa: ANN401 - whatever was unpacked
    """Return the item that a record holds.

    Raises:
        DamagedError: it holds none.
    """
    match record:
        case [int(kind), dict(tables), list(indexes), int(version)] if kind == _SCHEMA:
            return Schema(tables, tuple(indexes), version)
        case [int(kind), str(table), low, high, bytes(packed)] if kind == _CHUNK:
            return Chunk(table, _key(low), _key(high), packed, 0)
        case [int(kind), int(position), int(sequence), int(boot), bytes(digest)] if kind == _REACHED:
            return Reached(position, sequence, boot, digest)
        case [int(kind), str(name), int(mode), bytes(content)] if kind == _FILE:
            return OwnFile(name, mode, content)
        case [int(kind), str(version), str(server), dict(settings)] if kind == _ORIGIN:
            return Origin(version, server, settings)
    raise DamagedError("the base holds what no snapshot gives")


def _key(value: object) -> tuple[Any, ...] | None:
    if value is not None and not isinstance(value, list):
        raise DamagedError("the base holds a row without a key")
    return None if value is None else tuple(value)


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """What is said of a base once all of it is at the target.

    Attributes:
        chain: the chain whose commits after `sequence` belong to it.
        sequence: the last commit it holds.
        first_log: frames in logs before this one are of no use any more.
        parts: (number of the log, pieces in it), in order: a full one, then what changed since.
        total_bytes: what all of it takes.
        full_bytes: what the full one takes.
    """

    chain: bytes
    sequence: int
    first_log: int
    parts: tuple[tuple[int, int], ...]
    total_bytes: int
    full_bytes: int

    def pack(self) -> list[Any]:
        """Return packable values."""
        parts = [list(part) for part in self.parts]
        return [self.chain, self.sequence, self.first_log, parts, self.total_bytes, self.full_bytes]

    @classmethod
    def unpack(cls, values: Any) -> "Whole":  # noqa: ANN401 - whatever was unpacked
        """Return what `pack` was made of.

        Raises:
            DamagedError: it was something else.
        """
        match values:
            case [bytes(chain), int(sequence), int(first), list(parts), int(total), int(full)]:
                return cls(chain, sequence, first, tuple(_part(part) for part in parts), total, full)
        raise DamagedError("what stands at the target for a whole base says nothing of one")


def _part(value: object) -> tuple[int, int]:
    match value:
        case [int(number), int(pieces)]:
            return number, pieces
    raise DamagedError("what stands at the target for a whole base says nothing of its parts")
