"""Repair of a damaged state folder, when an operator agreed to it: keep what still fits, name exactly what is lost.

The damaged blocks are copied aside first. Then the readable commits are applied in order: up to the first gap as at any
start, behind it change by change, and a change that refers to something lost is left out whole. At the end the index
is committed as of the last commit that was ever seen, and the journal begins empty, with numbers far beyond all that
were shown before. Each step can be repeated: a power cut in between leaves a folder that is repaired again.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from relay.base.errors import DamagedError
from relay.base.limits import MAX_QUARANTINE_BYTES
from relay.store.faults import JournalHoleError, RootsLostError, StaleIndexError, Stretch, commits
from relay.store.files import FileLayer
from relay.store.frame import BLOCK_BYTES, HEADER_BYTES, read_header
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.opening import StateFolder
from relay.store.packing import unpack_all
from relay.store.replay import apply_change
from relay.store.root_page import Root
from relay.store.segments import ROOT_NAMES, Segments

FOLDER = "lost"
"""Where in the state folder damaged blocks and the reports of repairs are kept."""

# Far beyond every position and every start that the numbers lost with the damage can have had.
_POSITION_JUMP = 2**32
_POSITIONS_PER_BOOT = 4096
_MOST_USES = 2**48

Fits = Callable[[IndexFile, int, Sequence[Any]], bool]
"""From an operation's number and parameters to whether it may stand without what was lost."""


@dataclasses.dataclass(frozen=True, slots=True)
class Soundness:
    """What every row written behind a gap must fulfil.

    Attributes:
        conditions: (table, SQL condition about the row NEW).
        fits: what SQL cannot say.
    """

    conditions: Sequence[tuple[str, str]]
    fits: Fits


@dataclasses.dataclass(slots=True)
class Repaired:
    """What a repair did.

    Attributes:
        fault: what was wrong, empty where nothing was.
        held: the last commit that the index held before.
        lost: the commits of which nothing could be read, as (first, last).
        applied: how many changes were applied.
        left_out: the changes that could be read and refer to something lost, as (commit, position).
        aside: where the damaged blocks lie now.
        aside_bytes: how much of them was copied.
    """

    fault: str = ""
    held: int = 0
    lost: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    applied: int = 0
    left_out: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    aside: str = ""
    aside_bytes: int = 0

    def lines(self) -> list[str]:
        """Return it in words."""
        if not self.fault:
            return ["nothing to repair"]
        lost = ", ".join(commits(first, last) for first, last in self.lost) or "no commit"
        return [
            self.fault,
            f"the index held everything up to commit {self.held}; {self.applied} changes after it were applied",
            f"lost: {lost}",
            f"left out, because they refer to what is lost: {len(self.left_out)} changes",
            f"damaged blocks, {self.aside_bytes} bytes of them, and this report are in {self.aside}",
        ]


def repair(state: StateFolder, sound: Soundness) -> Repaired:
    """Repair the folder, whose lock the caller holds; do nothing where a start succeeds.

    Raises:
        DamagedError: without its index there is nothing to go on from; the message says so. Nothing was changed.
        OSError, StorageError: flash refused.
    """
    done = Repaired()
    index = state.index(state.files)
    try:
        if not index.exists:
            raise DamagedError("index.db is gone: only a backup brings it back")
        index.open()
        if index.format < index.newest_format:
            raise DamagedError("the state folder is of an older release: start that one first")
        if index.rows("PRAGMA quick_check(1)") != [("ok",)]:
            raise DamagedError("index.db is garbled inside: only a backup brings it back")
        done.held = index.sequence
        rooted = _diagnose(state, index, done)
        if done.fault:
            journal = state.journal(state.files, tolerant=True)
            try:
                _mend(state, index, journal if rooted else None, done, sound)
            finally:
                journal.close()
    except apsw.Error as error:
        raise DamagedError(f"index.db cannot be used: {error}") from error
    finally:
        with contextlib.suppress(apsw.Error):
            index.close()
    return done


def _diagnose(state: StateFolder, index: IndexFile, done: Repaired) -> bool:
    """Note what a start finds wrong with the journal; return whether a root page opens."""
    journal = state.journal(state.files)
    try:
        journal.open(may_make=False)
        copied = index.copied_sequence()
        if copied is not None and copied < journal.released:
            raise StaleIndexError(f"index.db holds commit {copied}, the journal begins after {journal.released}")
        for _ in journal.replay(index.sequence):
            pass
    except RootsLostError as error:
        done.fault = f"{error}"
        return False
    except DamagedError as error:
        done.fault = f"{error}"
    finally:
        journal.close()
    return True


def _mend(state: StateFolder, index: IndexFile, journal: Journal | None, done: Repaired, sound: Soundness) -> None:
    stretches: list[Stretch] = []
    last, root, position = index.sequence, None, index.position
    if journal is not None:
        journal.open(may_make=False)
        root = journal.root
        with _sound(index, sound.conditions):
            position = _apply(index, journal, done, stretches, sound.fits)
        last = max(last, journal.sequence)
    newest_use, newest_sequence = _newest(state, most=done.held)
    if newest_sequence > last:
        done.lost.append((last + 1, newest_sequence))
        last = newest_sequence
    _set_aside(state, done, stretches)
    index.begin_change()
    index.keep_change()
    index.commit(position, last)
    if not index.copy_back():
        raise DamagedError("the index could not be copied back: it is in use")
    # The log goes last: until the root says so, nobody else knows that all of it was copied.
    _begin_journal(state, root, position, last, newest_use)
    index.empty_log()


def _apply(index: IndexFile, journal: Journal, done: Repaired, stretches: list[Stretch], fits: Fits) -> int:
    """Apply every readable commit after the index; note gaps; return the last position."""
    position, expected = index.position, index.sequence + 1
    if journal.released >= expected:
        done.lost.append((expected, journal.released))
        done.fault = done.fault or f"the index ends at commit {index.sequence}, the journal begins later"
        expected = journal.released + 1
    for sequence, payload in _commits(journal, expected, stretches):
        if sequence > expected:
            done.lost.append((expected, sequence - 1))
            done.fault = done.fault or str(JournalHoleError(expected, sequence - 1, tuple(stretches)))
        for change in unpack_all(payload):
            if _take(index, change, careful=bool(done.lost), fits=fits):
                done.applied += 1
            else:
                done.left_out.append((sequence, change[0]))
            position = max(position, change[0])
        expected = sequence + 1
        journal.sequence = sequence
    journal.sequence = max(journal.sequence, expected - 1)
    return position


def _take(index: IndexFile, change: list[Any], *, careful: bool, fits: Fits) -> bool:
    if careful and not all(fits(index, number, params) for number, *params in change[1:]):
        return False
    try:
        apply_change(index, change)
    except apsw.ConstraintError:
        return False
    return True


def _commits(journal: Journal, first: int, stretches: list[Stretch]) -> Iterator[tuple[int, bytes]]:
    """Yield (sequence, payload) of each commit that is whole, from `first` on; note the places between."""
    parts: list[bytes] = []
    at, before = 0, None
    for frame in journal.frames():
        if frame.sequence < first:
            before = frame
            continue
        if frame.sequence != at or frame.part == 0:
            if frame.sequence > max(at, first - 1) + 1:
                stretches += journal.between(before, frame)
            parts, at = [], frame.sequence
        before = frame
        if frame.part == len(parts):
            parts.append(frame.payload)
        if len(parts) == frame.parts:
            yield at, b"".join(parts)
    for found in (trace.stretch for trace in journal.traces()):
        if not any(known.slot == found.slot and known.start <= found.start < known.end for known in stretches):
            stretches.append(found)


@contextlib.contextmanager
def _sound(index: IndexFile, conditions: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Refuse every row that breaks a condition, for as long as the block runs."""
    names = index.guard(conditions)
    try:
        yield
    finally:
        index.unguard(names)


def _newest(state: StateFolder, *, most: int) -> tuple[int, int]:
    """Return the newest use and the newest commit that any block names, whether or not it opens."""
    blocks = state.config.journal_segments * state.segment_bytes // BLOCK_BYTES
    use = sequence = 0
    for slot in range(state.config.journal_segments):
        path = state.folder / "journal" / f"segment-{slot:02d}"
        if not state.files.exists(path):
            continue
        file = state.files.open_to_read(path)
        for offset in range(0, state.segment_bytes, BLOCK_BYTES):
            with contextlib.suppress(OSError):
                header = read_header(file.read(HEADER_BYTES, offset))
                # A number that the journal has no room for is itself garbled.
                if header is not None and header.sequence <= most + blocks:
                    use, sequence = max(use, header.use), max(sequence, header.sequence)
        file.close()
    return min(use, _MOST_USES), sequence


def _segments(state: StateFolder, *, tolerant: bool) -> Segments:
    return Segments(
        state.files,
        state.folder / "journal",
        state.keys.journal_key,
        count=state.config.journal_segments,
        segment_bytes=state.segment_bytes,
        tolerant=tolerant,
    )


def _begin_journal(state: StateFolder, root: Root | None, position: int, sequence: int, newest_use: int) -> None:
    """Write the root of a journal that is empty and goes on after `sequence`."""
    floor = max(position, root.floor if root is not None else 0) + _POSITION_JUMP
    segments = _segments(state, tolerant=False)
    try:
        segments.begin(
            Root(
                sequence=(root.sequence if root is not None else 0) + 1,
                boot=max(floor // _POSITIONS_PER_BOOT, root.boot if root is not None else 0),
                floor=floor,
                released=sequence,
                next_use=max(newest_use, root.next_use if root is not None else 0) + 1,
                uses=(),
                format=state.newest_format,
            )
        )
    finally:
        segments.close()


def _set_aside(state: StateFolder, done: Repaired, stretches: Sequence[Stretch]) -> None:
    folder = _new_folder(state.files, state.folder / FOLDER)
    done.aside = str(folder)
    places = [(state.folder / "journal" / name, 0, BLOCK_BYTES) for name in ROOT_NAMES]
    for stretch in stretches:
        path = state.folder / "journal" / f"segment-{stretch.slot:02d}"
        places.append((path, stretch.start, stretch.end))
    for path, start, end in places:
        size_bytes = min(end - start, MAX_QUARANTINE_BYTES - done.aside_bytes)
        if size_bytes > 0 and state.files.exists(path):
            _copy(state.files, path, start, start + size_bytes, folder / f"{path.name}.byte-{start}")
            done.aside_bytes += size_bytes
    report = {**dataclasses.asdict(done), "lines": done.lines()}
    _write(state.files, folder / "report.json", json.dumps(report, indent=1).encode())
    state.files.sync_folder(folder)
    state.files.sync_folder(folder.parent)
    state.files.sync_folder(state.folder)


def _new_folder(files: FileLayer, parent: Path) -> Path:
    number = 1
    while files.exists(parent / f"{number}"):
        number += 1
    files.make_folder(parent / f"{number}")
    return parent / f"{number}"


def _copy(files: FileLayer, path: Path, start: int, end: int, target: Path) -> None:
    source = files.open_to_read(path)
    try:
        pieces = []
        for offset in range(start, end, BLOCK_BYTES):
            try:
                pieces.append(source.read(min(BLOCK_BYTES, end - offset), offset))
            except OSError:
                pieces.append(b"")
    finally:
        source.close()
    _write(files, target, b"".join(pieces))


def _write(files: FileLayer, path: Path, content: bytes) -> None:
    file = files.open(path, create=True)
    try:
        file.write(content, 0)
        file.sync()
    finally:
        file.close()
