"""The state behind the doors, in memory: what the command line opens while no box runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relay.admin.operations import HouseOperator
from relay.admin.operator import Operator
from relay.base.config import Config
from tests.fakes.people import MemoryPeople, MemoryReport


class MemoryHouse:
    """Remembers who was added; leaves files like a real house, so that what is cut short can be seen."""

    def __init__(self) -> None:
        self.people = MemoryPeople()
        self.fails = False

    @asynccontextmanager
    async def open(self, folder: Path, config: Config) -> AsyncIterator[Operator]:
        (folder / "root.key").write_bytes(bytes(32))
        (folder / "journal").mkdir()
        if self.fails:
            raise OSError(28, "No space left on device")
        self.people.server = config.server.name
        yield HouseOperator(self.people, MemoryReport(), stop=None)
