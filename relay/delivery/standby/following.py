"""What follows, while a target answers: commits as they come, a sign of life, and the files that people sent."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import trio

from relay.base.errors import NotFoundError, StorageError
from relay.base.limits import KIB, MAX_STANDBY_FRAME_BYTES
from relay.base.log import get_logger
from relay.delivery.media import MEDIA_KEPT
from relay.delivery.standby.course import Course
from relay.delivery.standby.envelope import Head, Kind
from relay.delivery.standby.target import Target
from relay.store.ledger import Index
from relay.store.tail import RecycledError

# Compressing less than this takes less time than handing it to a thread.
_WORTH_A_THREAD_BYTES = 16 * KIB
# An object or message costs its engine something beside its bytes.
_LEAST_HELD_BYTES = 4 * KIB

log = get_logger()


class SealedFiles(Protocol):
    """The folder of files that people sent, as they lie there: sealed, each under a key of its own in the tables."""

    async def read_sealed(self, file_id: str, start: int, size_bytes: int) -> bytes:
        """Return up to `size_bytes` of a file from `start`; fewer at its end.

        Raises:
            NotFoundError: it is gone.
        """
        ...


async def seal(course: Course, head: Head, values: Sequence[Any], limit_bytes: int, size_bytes: int) -> list[bytes]:
    """Seal where it delays nobody's bytes; `size_bytes` is about what `values` hold."""
    if size_bytes < _WORTH_A_THREAD_BYTES:
        return course.sealer.seal(head, values, limit_bytes)
    return await course.workers.run(course.sealer.seal, head, values, limit_bytes)


async def send_commits(course: Course, target: Target) -> None:
    """Send every commit as soon as it is durable, several in one frame while one is on its way.

    A journal that does not hold the next commit any more begins a new chain.
    """
    tail = course.ledger.tail(course.sent)
    while True:
        try:
            commits = await tail.read(MAX_STANDBY_FRAME_BYTES)
        except RecycledError:
            log.warning("delivery.standby_outrun")
            course.begin_chain()
            tail = course.ledger.tail(course.sent)
            continue
        except StorageError:
            # Flash takes nothing in any more: all there is has been sent.
            await trio.sleep_forever()
        begun_s = trio.current_time()
        course.behind_since_s = course.behind_since_s or time.monotonic()
        await _send_frame(course, target, commits)
        await trio.sleep_until(begun_s + target.pause_s)


async def _send_frame(course: Course, target: Target, commits: list[tuple[int, bytes]]) -> None:
    (first, _), (last, payload) = commits[0], commits[-1]
    head = course.head(Kind.FRAME, first, last, course.sealer.check(payload))
    size_bytes = sum(len(payload) for _, payload in commits)
    parts = await seal(course, head, commits, target.piece_bytes, size_bytes)
    frames = course.frames
    for number, part in enumerate(parts):
        await target.append(frames, f"{first:016x}-{number:04x}", part)
    course.note_sent(last, max(sum(map(len, parts)), _LEAST_HELD_BYTES))


async def send_signs_of_life(course: Course, target: Target, name: str) -> None:
    """Say now and then how far this box is, so that the other one can say what it lacks."""
    while True:
        head = course.head(Kind.BEAT, course.sent, course.sent)
        (sealed,) = course.sealer.seal(head, [name, course.media_missing], target.piece_bytes)
        await target.replace(f"{course.box}/beat", sealed)
        await trio.sleep(target.beat_s)


async def send_files(
    course: Course, target: Target, files: SealedFiles, known: Callable[[Index], Collection[str]]
) -> None:
    """Send every file that a row names, as it lies on flash, and note each one that is whole."""
    kept = set(await target.names(f"{course.box}/kept"))
    with course.ledger.watch(MEDIA_KEPT) as watch:
        while True:
            missing = set(await course.ledger.read(known)) - kept
            course.media_missing = len(missing)
            for file_id in sorted(missing):
                await _send_file(course, target, files, file_id)
                kept.add(file_id)
                course.media_missing -= 1
            await watch.wait()


async def _send_file(course: Course, target: Target, files: SealedFiles, file_id: str) -> None:
    media = f"{course.box}/media/{file_id}"
    # The remains of an attempt that was broken off.
    await target.remove(media)
    size_bytes = pieces = 0
    while True:
        try:
            piece = await files.read_sealed(file_id, size_bytes, target.piece_bytes)
        except NotFoundError:
            return
        if not piece:
            break
        await target.append(media, f"{pieces:08x}", piece)
        size_bytes, pieces = size_bytes + len(piece), pieces + 1
    head = course.head(Kind.KEPT, pieces, size_bytes)
    (sealed,) = course.sealer.seal(head, [file_id], target.piece_bytes)
    await target.replace(f"{course.box}/kept/{file_id}", sealed)
