"""Bases: a copy of everything from time to time, so that the commits since stay few.

A base is a full copy, or what changed since the last one beside that one. It counts from the moment that one entry says
so; then what it replaces is removed.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

from relay.base.errors import RelayError
from relay.base.limits import KIB
from relay.base.log import get_logger
from relay.delivery.standby.course import Course
from relay.delivery.standby.envelope import Joiner, Kind
from relay.delivery.standby.following import seal
from relay.delivery.standby.records import Item, Whole, record_of
from relay.delivery.standby.target import Target, entries
from relay.store.chunks import Chunk, Picture, Reached
from relay.store.ledger import Index

_PIECE_BYTES = 192 * KIB
_MAX_PARTS = 32

log = get_logger()


async def send_base(
    course: Course,
    target: Target,
    describe: Callable[[], Sequence[Item]],
    known_files: Callable[[Index], Collection[str]],
) -> None:
    """Bring a base to the target that the frames sent meanwhile go on from; then remove what it replaces.

    Raises:
        TooBusyError: too much changes now.
        UnreachableError, PeerRefusedError: as `Target`; what was sent is of no use, and removed by the next attempt.
    """
    earlier = course.whole
    await _remove_remains(course, target)
    # What is sent from here on belongs to the new base, whatever becomes of the chain meanwhile.
    first_log, replaced_bytes = course.next_log(), course.held_bytes
    picture = await _picture(course, target, earlier)
    if picture is None:
        earlier, picture = None, Picture(course.sealer.chunk_key)
    number = max((part for part, _ in course.whole.parts), default=0) + 1 if course.whole else 1
    writer = _PartWriter(course, target, number)
    for item in await course.workers.run(describe):
        await writer.put(item)
    reached: Reached | None = None
    async with contextlib.aclosing(course.ledger.snapshot(picture)) as items:
        async for item in items:
            await writer.put(item)
            reached = item if isinstance(item, Reached) else reached
    await writer.flush()
    await _send_picture(course, target, number, picture)
    if reached is None or reached.sequence < course.begun_after:
        # The target was so slow that the chain broke: frames after this base are missing.
        return
    before, before_bytes, full_bytes = (
        (earlier.parts, earlier.total_bytes, earlier.full_bytes) if earlier else ((), 0, 0)
    )
    whole = Whole(
        chain=course.chain,
        sequence=reached.sequence,
        first_log=first_log,
        parts=(*before, (number, writer.pieces)),
        total_bytes=before_bytes + writer.sent_bytes,
        full_bytes=full_bytes or writer.sent_bytes,
    )
    head = course.head(Kind.WHOLE, whole.sequence, whole.sequence)
    (sealed,) = course.sealer.seal(head, whole.pack(), target.piece_bytes)
    await target.replace(f"{course.box}/whole", sealed)
    course.whole, course.base_wanted = whole, False
    course.held_bytes = max(course.held_bytes - replaced_bytes, 0)
    course.tell()
    log.info("delivery.standby_base_sent", count=writer.pieces)
    await _remove_replaced(course, target, whole, known_files)


class _PartWriter:
    """Puts items into pieces, and pieces into one log.

    Attributes:
        pieces: how many there are.
        sent_bytes: what they take.
    """

    def __init__(self, course: Course, target: Target, number: int) -> None:
        self._course = course
        self._target = target
        self._number = number
        self._records: list[list[Any]] = []
        self._waiting_bytes = 0
        self.pieces = 0
        self.sent_bytes = 0

    async def put(self, item: Item) -> None:
        """Take an item in; send what has become a piece."""
        self._records.append(record_of(item))
        self._waiting_bytes += len(item.packed) + 64 if isinstance(item, Chunk) else 4 * KIB
        if self._waiting_bytes >= _PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what waits as one piece."""
        if not self._records:
            return
        head = self._course.head(Kind.PIECE, self.pieces, self._number)
        parts = await seal(self._course, head, self._records, self._target.piece_bytes, self._waiting_bytes)
        for place, part in enumerate(parts):
            name = f"{self.pieces:08x}-{place:04x}"
            await self._target.append(f"{self._course.box}/base/{self._number:08x}", name, part)
            self.sent_bytes += len(part)
            self._course.base_bytes = self.sent_bytes
        self._records, self._waiting_bytes = [], 0
        self.pieces += 1


async def _send_picture(course: Course, target: Target, number: int, picture: Picture) -> None:
    log_name = f"{course.box}/picture/{number:08x}"
    packed = picture.pack()
    head = course.head(Kind.PIECE, 0, number)
    for place, part in enumerate(await seal(course, head, [packed], target.piece_bytes, len(packed))):
        await target.append(log_name, f"{place:04x}", part)


async def _picture(course: Course, target: Target, earlier: Whole | None) -> Picture | None:
    """Return what the base at the target amounts to; None where a full one is better."""
    if earlier is None or len(earlier.parts) >= _MAX_PARTS or earlier.total_bytes > 2 * earlier.full_bytes + 1024 * KIB:
        return None
    joiner = Joiner(course.sealer, Kind.PIECE)
    try:
        async for data in entries(target, f"{course.box}/picture/{earlier.parts[-1][0]:08x}"):
            for _, (packed,) in joiner.feed(data):
                return Picture.unpack(packed)
    except (RelayError, ValueError, TypeError) as error:
        log.warning("delivery.standby_picture_refused", error=type(error).__name__)
    return None


async def _remove_remains(course: Course, target: Target) -> None:
    """Remove what an attempt left that was broken off."""
    of_use = {f"{number:08x}" for number, _ in course.whole.parts} if course.whole else set()
    for kind in ("base", "picture"):
        for name in await target.names(f"{course.box}/{kind}"):
            if name not in of_use:
                await target.remove(f"{course.box}/{kind}/{name}")


async def _remove_replaced(
    course: Course, target: Target, whole: Whole, known_files: Callable[[Index], Collection[str]]
) -> None:
    await _remove_remains(course, target)
    for number, _ in whole.parts[:-1]:
        await target.remove(f"{course.box}/picture/{number:08x}")
    for name in await target.names(f"{course.box}/frames"):
        if name < f"{whole.first_log:08x}":
            await target.remove(f"{course.box}/frames/{name}")
    kept = await target.names(f"{course.box}/kept")
    # Asked in this order: the row of a file that has just been sent is there already.
    known = set(await course.ledger.read(known_files))
    for file_id in kept:
        if file_id not in known:
            await target.remove(f"{course.box}/kept/{file_id}")
            await target.remove(f"{course.box}/media/{file_id}")
