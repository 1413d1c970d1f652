"""What waits while the clock is not set, and who is told.

Everything that leaves the house waits: without the time no certificate can be checked, and a failure that is only ours
would be counted against others. The doors serve on. Whoever sets the clock, a person or a time service, ends the wait.
"""

from typing import Any

import trio

from relay.admin.operations import Finding
from relay.base.clock import Clock, knows_time

_LOOK_EVERY_S = 2.0


async def wait_until_set(clock: Clock) -> None:
    """Return when the clock is set; at once where it is."""
    # Nobody tells a process that its clock was set.
    while not knows_time(clock):  # noqa: ASYNC110
        await trio.sleep(_LOOK_EVERY_S)
    await trio.lowlevel.checkpoint()


def watch_clock(clock: Clock) -> tuple[dict[str, Any], list[Finding]]:
    """Return for the status whether the clock is set; the doctor finds out by himself."""
    return {"clock_set": knows_time(clock)}, []
