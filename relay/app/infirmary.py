"""A box that serves nobody still answers the local operator, in words: one operator, whatever keeps it from serving.

It waits for its key (`relay.app.awaiting_key`), or for somebody to put right what made a start fail
(`relay.app.safe_mode`).
"""

import contextlib
import dataclasses
import errno
from functools import partial
from pathlib import Path
from typing import Any

import trio

from relay.admin.advice import next_step
from relay.admin.operations import Finding
from relay.admin.requests import Doctor, Request, Restart, Status, Stop
from relay.admin.server import serve_admin
from relay.app.holdings import free_bytes
from relay.app.on_trial import start_again_when_due
from relay.app.stopping import StopAsked, listen_to_signals
from relay.base.errors import RelayError
from relay.base.limits import MIB
from relay.store.files import OS_FILES, FileLayer

_PROBE = "room.part"
_PROBE_BYTES = 2 * MIB
_LOOK_FOR_ROOM_S = 30.0


class Infirmary:
    """`relay.admin.operator.Operator` of a box that serves nobody.

    Attributes:
        fault: why it does not.
    """

    def __init__(self, fault: RelayError, stop: StopAsked, server: str) -> None:
        self.fault = fault
        self._stop = stop
        self._server = server

    @property
    def words(self) -> str:
        """Return what is the matter, in one line."""
        return f"safe mode, nobody is served: {self.fault}"

    @property
    def code(self) -> str:
        """Return what the next step follows from."""
        return self.fault.code

    async def carry_out(self, request: Request) -> dict[str, Any]:
        """Return the result of `request`; see `relay.admin.operator.Operator`."""
        match request:
            case Status():
                named = {"provisioned": True, "running": False, "server": self._server}
                return {**named, **self._facts(), "next_step": next_step(self.code)}
            case Doctor():
                return {"findings": [dataclasses.asdict(Finding("fault", self.words, next_step(self.code)))]}
            case Restart() | Stop():
                self._stop(isinstance(request, Restart))
                return {"stopping": True}
        raise self.refusal()

    def refusal(self) -> RelayError:
        """Return what everything else is answered."""
        return self.fault

    def _facts(self) -> dict[str, Any]:
        ledger = {"healthy": False, "fault": str(self.fault), "fault_code": self.fault.code}
        return {"safe_mode": self.words, "ledger": ledger}


async def attend(
    folder: Path,
    operator: Infirmary,
    stop: StopAsked,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Have `operator` answer on the admin socket and `stop` hear signals and settings that go back, until cancelled."""
    async with trio.open_nursery() as workers:
        with contextlib.suppress(OSError):
            # A file system that takes no writes has no place for a socket.
            await workers.start(partial(serve_admin, folder, operator))
        await workers.start(listen_to_signals, stop)
        workers.start_soon(start_again_when_due, folder, stop)
        task_status.started()


async def look_for_room(folder: Path, stop: StopAsked) -> None:
    """Ask for a new start once the card has room for one."""
    while True:
        # The first time, too: a start that needs more than is looked for here must not follow the other at once.
        await trio.sleep(_LOOK_FOR_ROOM_S)
        if await trio.to_thread.run_sync(has_room, folder, OS_FILES):
            stop(True)  # noqa: FBT003 - the operator's callback
            return


def has_room(folder: Path, files: FileLayer) -> bool:
    """Return whether there is room for what most starts write, found out by writing as much: quotas say nothing."""
    path = folder / _PROBE
    try:
        if files.vfs is None and free_bytes(folder) < _PROBE_BYTES:
            # A full card is not written to, and what is left of it not taken from others, only to be sure.
            return False
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
