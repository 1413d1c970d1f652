"""What the supervisor of this process hears: that it serves, that it is alive, what is wrong."""

import contextlib

import trio

from relay.base.errors import RelayError
from relay.box.service import Supervisor
from relay.store.ledger import Ledger


async def keep_told(supervisor: Supervisor, ledger: Ledger) -> None:
    """Feed the watchdog for as long as the loop turns and the ledger answers; tell a fault in words.

    A ledger that takes nothing in any more is alive: a restart would not mend flash, and reads go on.
    """
    if supervisor.watchdog_s is None:
        return
    told = ""
    while True:
        # A refusal is an answer too; what is fed on is that the queue of steps moves.
        with contextlib.suppress(RelayError):
            await ledger.read(lambda _index: None)
        supervisor.alive()
        fault = ledger.status().fault
        if fault != told:
            supervisor.status(f"nothing new is taken in: {fault}" if fault else "serving")
            told = fault
        await trio.sleep(supervisor.watchdog_s / 3)
