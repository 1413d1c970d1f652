"""Builds what a cut may leave of a recorded device, mounts it, recovers the box in it and compares it with promises."""

import dataclasses
import json
import os
import random  # noqa: TID251 - a seeded generator: the same states every time
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.crash.block_log import Replay, Request, Weather, read_log
from tests.interop.box_process import ROOT
from tests.interop.promises import MEDIA, SESSION, Promise, broken
from tests.interop.recorded_load import Recording
from tests.interop.recording_device import mounted, run

_WEATHERS = (Weather.MIXED, Weather.SECTORS, Weather.MIXED, Weather.NOTHING, Weather.LAST, Weather.EVERYTHING)


@dataclasses.dataclass(slots=True)
class Outcome:
    """What the states showed.

    Attributes:
        states: how many were tried; `doubtful` of them with unflushed writes, `torn` with a torn one.
        promises: comparisons made.
        losses: each promise that did not hold, each state that did not mount, recover or pass e2fsck.
    """

    states: int = 0
    torn: int = 0
    doubtful: int = 0
    promises: int = 0
    losses: list[str] = dataclasses.field(default_factory=list)


class Recoverer:
    """The process that recovers one folder after the other; a context manager."""

    def __init__(self, errors: Path) -> None:
        self._errors = errors

    def __enter__(self) -> Self:
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.interop.recovered_state"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def look(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return what `recovered_state` found.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the recovering process ended; see {self._errors}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def inspect(recording: Recording, folder: Path, *, states: int, seed: int) -> Outcome:
    """Try that many cuts, spread by chance over the recording from its beginning to its end.

    `recording.base` is brought forward; a recording is inspected once.
    """
    chance = random.Random(seed)
    log = recording.log.read_bytes()
    requests = read_log(log)
    first = next(number for number, request in enumerate(requests) if request.end > recording.begins)
    # Right after a flush nothing is in doubt: such cuts are few.
    doubtful = [number for number in range(first + 1, len(requests) + 1) if not requests[number - 1].flushes]
    anywhere = range(first + 1, len(requests) + 1)
    cuts = sorted(chance.choices(anywhere, k=states // 8) + chance.choices(doubtful, k=states - states // 8))
    image = folder / "state.img"
    outcome = Outcome()
    with recording.base.open("r+b") as base, Recoverer(folder / "recoverer.log") as recoverer:
        replay = Replay(base, log, requests)
        for number, cut in enumerate(cuts):
            weather = _WEATHERS[number % len(_WEATHERS)]
            kept, torn = replay.cut(cut, weather, chance)
            base.flush()
            _copy_without_holes(recording.base, image)
            with image.open("r+b") as state:
                for place, data in kept:
                    state.seek(place)
                    state.write(data)
            outcome.states += 1
            outcome.torn += torn
            outcome.doubtful += bool(kept) or not requests[cut - 1].flushes
            held = _promised(recording, requests, cut)
            outcome.promises += len(held)
            found = _recover(recording, recoverer, image, held)
            outcome.losses += [f"cut {cut}, {weather.name}: {text}" for text in found]
    return outcome


def _copy_without_holes(source: Path, target: Path) -> None:
    """Most of a device was never written: only the rest is copied."""
    target.unlink(missing_ok=True)
    with source.open("rb") as old, target.open("wb") as new:
        size_bytes = os.fstat(old.fileno()).st_size
        new.truncate(size_bytes)
        place = 0
        while place < size_bytes:
            try:
                place = os.lseek(old.fileno(), place, os.SEEK_DATA)
            except OSError:
                return  # nothing but a hole is left
            end = os.lseek(old.fileno(), place, os.SEEK_HOLE)
            os.lseek(new.fileno(), place, os.SEEK_SET)
            while place < end:
                place += os.sendfile(new.fileno(), old.fileno(), place, end - place)


def _promised(recording: Recording, requests: list[Request], cut: int) -> list[Promise]:
    return [promise for promise in recording.promises if promise.at <= requests[cut - 1].end]


def _recover(recording: Recording, recoverer: Recoverer, image: Path, held: list[Promise]) -> list[str]:
    asked = {
        "state": str(recording.state),
        "room": recording.room,
        "sessions": [promise.name for promise in held if promise.kind == SESSION],
        "inbox": recording.inbox,
        "media": [promise.name for promise in held if promise.kind == MEDIA],
    }
    try:
        with mounted(image, recording.mount_point):
            seen = recoverer.look(asked)
        run("e2fsck", "-fn", image)
    except RuntimeError as error:
        return [str(error)]
    return [seen["error"]] if "error" in seen else broken(held, seen)
