"""SRV records in a dictionary."""

from relay.base.errors import UnreachableError
from relay.transport.names import Service


class FakeResolver:
    """Implements `Resolver`; `down` makes every look-up fail.

    Attributes:
        asked: every name looked up, in order.
    """

    def __init__(self, records: dict[str, list[Service]] | None = None) -> None:
        self.records = records or {}
        self.asked: list[str] = []
        self.down = False

    async def services(self, name: str) -> list[Service]:
        """Return the records of `name`."""
        self.asked.append(name)
        if self.down:
            raise UnreachableError("no name server")
        return self.records.get(name, [])
