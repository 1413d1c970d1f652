"""Out of a target again: which boxes it holds, a base, the commits after it, files; and what is missing of each."""

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from relay.base.errors import DamagedError, NotFoundError
from relay.delivery.standby.envelope import ForeignEnvelopeError, Head, Joiner, Kind, Sealer, read_head
from relay.delivery.standby.records import Item, Whole, item_of
from relay.delivery.standby.target import Target, entries


@dataclasses.dataclass(frozen=True, slots=True)
class Copy:
    """One box's copy at the target, as far as its outside tells.

    Attributes:
        box: the box's id.
        base: the commit its base holds, None where no base is whole.
        at_ms: when it last gave a sign of life, by its own clock; 0 where it never did.
    """

    box: bytes
    base: int | None
    at_ms: int


class DamagedCopyError(DamagedError):
    """Something at the target was damaged or put there by somebody else; the message says what.

    Attributes:
        held: the last commit before it.
    """

    code = "standby.damaged"

    def __init__(self, message: str, held: int) -> None:
        super().__init__(message)
        self.held = held


async def list_copies(target: Target) -> list[Copy]:
    """Return every box's copy, the one that lived last first."""
    found = []
    for name in await target.names(""):
        try:
            box = bytes.fromhex(name)
            said = [await target.last(f"{name}/{log}") for log in ("whole", "beat")]
            heads = [read_head(data)[0] for data in said if data is not None]
        except (ValueError, DamagedError):
            continue
        base = next((head.last for head in heads if head.kind == Kind.WHOLE), None)
        found.append(Copy(box, base, max((head.at_ms for head in heads), default=0)))
    return sorted(found, key=lambda copy: -copy.at_ms)


class Reader:
    """Reads one box's copy: `open` first.

    Attributes:
        name: the name of the first box, where it gave a sign of life.
        newest: the last commit the first box spoke of.
        newest_ms: when it did.
    """

    def __init__(self, target: Target, standby_key: bytes, box: bytes) -> None:
        self._target = target
        self._sealer = Sealer(standby_key, box)
        self._box = box.hex()
        self._whole: Whole | None = None
        self.name = ""
        self.newest = 0
        self.newest_ms = 0

    @property
    def chunk_key(self) -> bytes:
        """Return the key with which the base was cut."""
        return self._sealer.chunk_key

    async def open(self) -> Whole:
        """Find the base.

        Raises:
            NotFoundError: none is whole.
            ForeignEnvelopeError, DamagedCopyError: it is not this box's, or the standby key is another.
        """
        data = await self._target.last(f"{self._box}/whole")
        if data is None:
            raise NotFoundError(f"box {self._box} has not sent a whole base yet")
        with _named("the base's seal", 0):
            head, values = self._sealer.open_whole(data, Kind.WHOLE)
            self._whole = Whole.unpack(values)
        self.note(head)
        beat = await self._target.last(f"{self._box}/beat")
        if beat is not None:
            with _named("the last sign of life", 0):
                head, (name, _missing) = self._sealer.open_whole(beat, Kind.BEAT)
            self.name = str(name)
            self.note(head)
        return self._whole

    async def base(self) -> AsyncGenerator[Item, None]:
        """Yield everything the base holds, in order.

        Raises:
            DamagedCopyError: a piece is missing or damaged.
        """
        assert self._whole is not None
        for number, pieces in self._whole.parts:
            joiner, expected = Joiner(self._sealer, Kind.PIECE), 0
            async for data in entries(self._target, f"{self._box}/base/{number:08x}"):
                with _named(f"piece {expected} of base {number}", 0):
                    found = list(joiner.feed(data))
                for head, records in found:
                    if head.first != expected or head.last != number:
                        raise DamagedCopyError(f"piece {expected} of base {number} is missing at the target", 0)
                    expected += 1
                    for record in records:
                        yield item_of(record)
            if expected != pieces:
                raise DamagedCopyError(f"base {number} has {expected} pieces of {pieces} at the target", 0)

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield every entry after the base as it is, for `follower`."""
        assert self._whole is not None
        for name in await self._target.names(f"{self._box}/frames"):
            if name >= f"{self._whole.first_log:08x}":
                async for data in entries(self._target, f"{self._box}/frames/{name}"):
                    yield data

    def follower(self) -> "Follower":
        """Return what makes commits out of frames, from the base on."""
        assert self._whole is not None
        return Follower(self._sealer, self._whole)

    def note(self, head: Head) -> None:
        """Note how far the first box said it was."""
        if head.newest >= self.newest:
            self.newest, self.newest_ms = head.newest, max(head.at_ms, self.newest_ms)

    async def file_ids(self) -> list[str]:
        """Return the ids of all files that are whole."""
        return await self._target.names(f"{self._box}/kept")

    async def file(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Yield a file as it lay on the first box, sealed.

        Raises:
            DamagedCopyError: a piece of it is missing.
        """
        kept = await self._target.last(f"{self._box}/kept/{file_id}")
        if kept is None:
            raise NotFoundError("this file is not at the target")
        with _named(f"file {file_id}", 0):
            head, values = self._sealer.open_whole(kept, Kind.KEPT)
        size_bytes = pieces = 0
        async for piece in entries(self._target, f"{self._box}/media/{file_id}"):
            size_bytes, pieces = size_bytes + len(piece), pieces + 1
            yield piece
        if (pieces, size_bytes) != (head.first, head.last) or values != [file_id]:
            raise DamagedCopyError(f"file {file_id} has {size_bytes} bytes of {head.last} at the target", 0)


class Follower:
    """Makes commits out of frames, in order; what does not continue them is left out.

    Attributes:
        held: the last commit.
        held_ms: when the first box had it, by its clock.
    """

    def __init__(self, sealer: Sealer, whole: Whole) -> None:
        self._joiner = Joiner(sealer, Kind.FRAME)
        self._chain = whole.chain
        self._number = 0
        self.held = whole.sequence
        self.held_ms = 0

    def feed(self, data: bytes) -> tuple[Head, list[tuple[int, bytes]]]:
        """Return the head of an entry, and the commits that it completes.

        Raises:
            DamagedCopyError: it is damaged, or somebody else put it there.
        """
        self._number += 1
        with _named(f"frame entry {self._number}, after commit {self.held},", self.held):
            head, _ = read_head(data)
            found = list(self._joiner.feed(data))
        following: list[tuple[int, bytes]] = []
        for whole, commits in found:
            if whole.chain == self._chain:
                following += _following(commits, self.held)
                if following:
                    self.held, self.held_ms = following[-1][0], whole.at_ms
        return head, following


def _following(commits: Any, held: int) -> list[tuple[int, bytes]]:  # noqa: ANN401 - whatever was unpacked
    following: list[tuple[int, bytes]] = []
    for commit in commits:
        match commit:
            case [int(sequence), bytes(payload)]:
                if sequence == held + 1:
                    following.append((sequence, payload))
                    held = sequence
            case _:
                raise DamagedCopyError(f"what follows commit {held} is no commit", held)
    return following


@contextlib.contextmanager
def _named(what: str, held: int) -> Iterator[None]:
    """Say which entry a fault was in."""
    try:
        yield
    except ForeignEnvelopeError as error:
        raise DamagedCopyError(f"{what} at the target was put there by somebody else: {error}", held) from None
    except (DamagedError, ValueError, TypeError) as error:
        raise DamagedCopyError(f"{what} at the target: {error}", held) from None
