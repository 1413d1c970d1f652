"""What the supervisor of this process hears, and what the light says: that it serves, is alive, or needs somebody."""

import contextlib
from pathlib import Path

import trio

from relay.base.errors import RelayError
from relay.box.light import Shown, StatusLight
from relay.box.service import Supervisor
from relay.store.ledger import Ledger
from relay.store.upgrade import MARK

_LOOK_EVERY_S = 20.0
_MORE_TIME_S = 120.0


async def ask_for_time(
    supervisor: Supervisor, folder: Path, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED
) -> None:
    """While the state folder is being upgraded, which may take long, ask for more time, until cancelled."""
    with trio.CancelScope() as scope:
        task_status.started(scope)
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            with contextlib.suppress(OSError):
                step = (folder / MARK).read_text("ascii", "replace")
                supervisor.more_time(_MORE_TIME_S, f"bringing what is stored to the form of this release: step {step}")


async def show_on(light: StatusLight, what: Shown) -> None:
    """Show `what`; the loop does not wait for udev, which hands over what a rhythm needs."""
    if not light.shows(what):
        await trio.to_thread.run_sync(light.show, what)


async def keep_told(supervisor: Supervisor, ledger: Ledger, light: StatusLight) -> None:
    """Feed the watchdog for as long as the loop turns and the ledger answers; tell a fault in words and by the light.

    A ledger that takes nothing in any more is alive: a restart would not mend flash, and reads go on. One whose commit
    does not come back is not: the read waits for it where somebody was promised to hear, and its age tells otherwise.
    """
    if supervisor.watchdog_s is None and not light.name:
        return
    pause_s = _LOOK_EVERY_S if supervisor.watchdog_s is None else supervisor.watchdog_s / 3
    told = ""
    while True:
        # A refusal is an answer too; what is fed on is that the queue of steps moves.
        with contextlib.suppress(RelayError):
            await ledger.read(lambda _index: None)
        if ledger.commit_lasts_s <= 2 * pause_s:
            supervisor.alive()
        fault = ledger.status().fault
        await show_on(light, Shown.ATTENTION if fault else Shown.HEALTHY)
        if fault != told:
            supervisor.status(f"nothing new is taken in: {fault}" if fault else "serving")
            told = fault
        await trio.sleep(pause_s)
