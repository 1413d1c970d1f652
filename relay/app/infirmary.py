"""A box whose state cannot be opened at all: it still answers the local operator, in words."""

import errno
from pathlib import Path
from typing import Any, Never

from relay.admin.advice import next_step
from relay.admin.operations import Finding, Person
from relay.base.errors import RelayError
from relay.base.ids import UserId
from relay.base.limits import MIB
from relay.store.files import FileLayer

_PROBE = "room.probe"
_PROBE_BYTES = 2 * MIB


class Infirmary:
    """`relay.admin.operations.Report` of a box that serves nothing."""

    def __init__(self, fault: RelayError) -> None:
        self._fault = fault

    async def status(self) -> dict[str, Any]:
        """Return the fault."""
        return {
            "listening": {},
            "ledger": {"healthy": False, "fault": str(self._fault), "fault_code": self._fault.code},
        }

    async def findings(self) -> list[Finding]:
        """Return the fault and what to do about it."""
        return [Finding("fault", f"{self._fault}: nothing is served", next_step(self._fault.code))]


class NobodyHome:
    """`relay.admin.operations.People` while the tables cannot be opened: every question gets the fault."""

    def __init__(self, fault: RelayError) -> None:
        self._fault = fault

    async def add(self, localpart: str, password: str, *, admin: bool) -> UserId:
        """Refuse."""
        self._refuse()

    async def listed(self) -> list[Person]:
        """Refuse."""
        self._refuse()

    async def set_password(self, localpart: str, password: str) -> None:
        """Refuse."""
        self._refuse()

    async def deactivate(self, localpart: str) -> None:
        """Refuse."""
        self._refuse()

    async def is_owners(self, password: str) -> bool:
        """Refuse."""
        self._refuse()

    async def invite(self) -> tuple[str, int]:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> Never:
        raise self._fault


def has_room(folder: Path, files: FileLayer) -> bool:
    """Return whether a start finds room for what it writes, found out by writing as much."""
    path = folder / _PROBE
    try:
        file = files.open(path, create=True)
        try:
            file.write(bytes(_PROBE_BYTES), 0)
            file.sync()
        finally:
            file.close()
            files.remove(path)
    except OSError as error:
        return error.errno not in (errno.ENOSPC, errno.EDQUOT)
    return True
