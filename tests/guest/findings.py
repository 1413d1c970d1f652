"""What a run showed: said as it happens, and once more as a table at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class MissError(Exception):
    """Something is not as it has to be."""


class Findings:
    """The rows of the table, in the order in which things were seen."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._stage = ""
        self.rows: list[tuple[str, str]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say what is tried now and how long it took."""
        begun, before = time.monotonic(), self._stage
        self._stage = name
        self._say(f"{name} ...")
        yield
        self._stage = before
        self._say(f"{name}: done in {time.monotonic() - begun:.0f} s")

    def see(self, what: str, value: object) -> None:
        """Take a row into the table."""
        self.rows.append((what, str(value)))
        self._say(f"  {what}: {value}")

    def expect(self, holds: object, otherwise: object) -> None:
        """Go on only if `holds`.

        Raises:
            MissError: it does not; the message names the stage.
        """
        if not holds:
            raise MissError(f"{self._stage}: {otherwise}" if self._stage else str(otherwise))

    def table(self, verdict: str) -> str:
        """Return the table as it stands in README, with the verdict below."""
        minutes = (time.monotonic() - self._begun) / 60
        rows = [f"| {what} | {value} |" for what, value in self.rows]
        return "\n".join(["| what | seen |", "|---|---|", *rows, f"{verdict} after {minutes:.0f} minutes"])

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:6.0f} s  {text}", flush=True)
