"""How often the owner's password may be tried at the cable: after a few slips each try costs a longer wait.

A try is counted, on flash, before it is looked at: pulling the plug takes nothing back. Time is the kernel's since its
start, which nobody can set; after a power cut the wait begins again.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from relay.base.errors import RateLimitedError, StorageError
from relay.base.limits import FIRST_GUESS_WAIT_S, FREE_GUESSES, MAX_GUESS_WAIT_S
from relay.base.trial import Now, Uptime
from relay.cli.files import write_whole

FILE_NAME = "guesses.json"
_LONGEST = 64


def wait_after(wrong: int) -> float:
    """Return how many seconds the next try has to wait after `wrong` ones."""
    if wrong < FREE_GUESSES:
        return 0.0
    return float(min(MAX_GUESS_WAIT_S, FIRST_GUESS_WAIT_S * 2 ** min(wrong - FREE_GUESSES, _LONGEST)))


class Guesses:
    """The tries of one box, however many cables it has; whoever uses this holds a lock around it.

    Args:
        folders: where the count is kept: the first that takes a write; the worst count of all is the one that counts.
        now: the time.
    """

    def __init__(self, folders: Sequence[Path], *, now: Now = Uptime.now) -> None:
        self._paths = [folder / FILE_NAME for folder in folders]
        self._now = now
        self._wrong_before = 0

    def count(self) -> None:
        """Count one try as wrong; `forgive` or `forgive_last` takes that back when it was not.

        Raises:
            RateLimitedError: it comes too early and does not count; `retry_after_s` says until when.
            StorageError: it cannot be counted, so it may not be made.
        """
        found = [self._read(path) for path in self._paths]
        wrong, left_s = max(wrong for wrong, _ in found), max(left_s for _, left_s in found)
        if left_s > 0:
            raise RateLimitedError(
                f"too many wrong passwords: the next one is looked at in {_words(left_s)}", retry_after_s=left_s
            )
        self._wrong_before = wrong
        self._write(wrong + 1)

    def forgive(self) -> None:
        """Forget all tries: the last one was right."""
        for path in self._paths:
            path.unlink(missing_ok=True)

    def forgive_last(self) -> None:
        """Take the last `count` back: nothing came of that try, neither right nor wrong."""
        if self._wrong_before:
            self._write(self._wrong_before)
        else:
            self.forgive()

    def _write(self, wrong: int) -> None:
        now = self._now()
        content = json.dumps({"wrong": wrong, "boot": now.boot, "at_s": now.seconds}).encode("ascii")
        for path in self._paths:
            try:
                write_whole(path, content)
            except OSError:
                continue
            return
        raise StorageError("wrong passwords cannot be counted here, so none is looked at; hold the button instead")

    def _read(self, path: Path) -> tuple[int, float]:
        """Return how many tries were wrong and how long the next one has to wait."""
        now = self._now()
        try:
            fields = json.loads(path.read_bytes())
            wrong, at_s = int(fields["wrong"]), float(fields["at_s"])
            # After a new start the time of the try says nothing any more: the whole wait, from the start on.
            passed_s = now.seconds - at_s if fields["boot"] == now.boot else now.seconds
        except FileNotFoundError:
            return 0, 0.0
        except (OSError, ValueError, TypeError, KeyError):
            # Nobody may win by damaging it.
            wrong, passed_s = _LONGEST, now.seconds
        return wrong, max(0.0, wait_after(wrong) - max(0.0, passed_s))


def _words(left_s: float) -> str:
    seconds = max(1, round(left_s + 0.5))
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} minutes"
