"""A standby's target in memory. What it promises is checked against real engines in tests/interop/test_standby.py."""

import trio

from relay.base.errors import UnreachableError
from relay.delivery.standby.target import AnotherWriterError


class MemoryTarget:
    """Implements `Target`.

    Attributes:
        logs: entries by log, in order.
        down: whether nobody answers.
        fault: what every request raises, if anything.
        writes: how many entries were written.
    """

    piece_bytes = 4096
    pause_s = 0.0
    beat_s = 10.0

    def __init__(self) -> None:
        self.logs: dict[str, dict[str, bytes]] = {}
        self.down = False
        self.fault: Exception | None = None
        self.writes = 0
        self.delay_s = 0.0
        self.lose_answers = 0
        self.another_writer = False

    async def append(self, log: str, entry: str, data: bytes) -> None:
        await self._reach()
        if self.another_writer:
            raise AnotherWriterError("another process writes this box's stream")
        assert len(data) <= self.piece_bytes
        held = self.logs.setdefault(log, {})
        assert entry in held or not held or entry > max(held)
        held.setdefault(entry, data)
        self.writes += 1
        if self.lose_answers:
            self.lose_answers -= 1
            raise UnreachableError("the answer was lost")

    async def replace(self, log: str, data: bytes) -> None:
        await self._reach()
        self.logs[log] = {"only": data}
        self.writes += 1

    async def page(self, log: str, mark: str) -> tuple[list[bytes], str]:
        await self._reach()
        found = sorted(entry for entry in self.logs.get(log, {}) if entry > mark)[:3]
        return [self.logs[log][entry] for entry in found], found[-1] if found else mark

    async def last(self, log: str) -> bytes | None:
        await self._reach()
        held = self.logs.get(log, {})
        return held[max(held)] if held else None

    async def names(self, within: str) -> list[str]:
        await self._reach()
        above = f"{within}/" if within else ""
        return sorted({name.removeprefix(above).split("/")[0] for name in self.logs if name.startswith(above)})

    async def remove(self, log: str) -> None:
        await self._reach()
        for name in [name for name in self.logs if name == log or name.startswith(f"{log}/")]:
            del self.logs[name]

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.delay_s:
            await trio.sleep(self.delay_s)
        if self.fault is not None:
            raise self.fault
        if self.down:
            raise UnreachableError("nobody is there")
