"""Settings on trial, seen by the box that runs with them: when nobody said in time that they are right, it starts anew.

The start goes back to the settings before them; `relay.base.trial` says what lies where.
"""

from collections.abc import Callable
from pathlib import Path

import trio

from relay.base.trial import Now, Uptime, pending


async def start_again_when_due(folder: Path, again: Callable[[bool], None], now: Now = Uptime.now) -> None:
    """Wait until the trial is over; if its time is up then, ask for a new start.

    A trial that is over when the box starts is one that flash did not let go back: a new start would not help.
    """
    waited = False
    while (found := pending(folder)) is not None and found.settings:
        left_s = found.left_s(now())
        if not left_s:
            if waited:
                again(True)  # noqa: FBT003 - the operator's callback
            return
        waited = True
        await trio.sleep(left_s)
