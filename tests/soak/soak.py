"""Lives through many messages and prints what the box takes on the way: `python -m tests.soak.soak --messages 20000`.

A day passes with every `--per-day` messages. People keep the last `--days` days, or with `--budget-mib` what fits. One
line of JSON a measurement. `--disk` (root) counts what reaches the device, on a file system of its own; `--pictures 0`
leaves files out of it, and `--days 3650` pruning.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from relay.base import log
from relay.base.limits import MIB
from relay.cli.bench.disk import LoopDisk
from relay.delivery.pruning.marks import DAY_MS
from tests.fakes.graph_check import flaws
from tests.soak.household import Household, open_household

POINTS = 10
_PLENTY_MIB = 1 << 20


async def soak(folder: Path, given: argparse.Namespace, disk: LoopDisk | None) -> None:
    """Live in `folder`, and look at the end whether anything refers to what went."""
    days, budget_mib = 0 if given.budget_mib else given.days, given.budget_mib or _PLENTY_MIB
    retention = {"days": days, "least_days": 1, "device_days": 30, "orphan_days": 2}
    async with open_household(folder, retention, budget_mib * MIB) as household:
        await live(household, given, disk)
        found = await household.ledger.read(flaws)
        if found:
            raise AssertionError(found[:5])
        if household.far.taken < household.messages // 4:
            raise AssertionError(f"the other server got only {household.far.taken}")


async def live(household: Household, given: argparse.Namespace, disk: LoopDisk | None) -> None:
    measured, messages = 0, given.messages
    while household.messages < messages:
        await household.say(given.per_day // 2)
        await household.hear(given.per_day // 2)
        await household.show(given.pictures)
        # Once a day: apps come back twice, as a token says what its bearer has, and the box looks what may go.
        await household.come_by()
        await household.come_by()
        household.clock.now_ms += DAY_MS
        await household.pruner.look(at_once=True)
        if household.messages * POINTS // messages > measured:
            measured = household.messages * POINTS // messages
            written = {} if disk is None else dataclasses.asdict(disk.written())
            say({**dataclasses.asdict(await household.sizes()), **written})


def say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--per-day", type=int, default=500)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--budget-mib", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--disk", action="store_true")
    given = parser.parse_args()
    log.configure(level="warning")
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="doorstep-soak-")))
        disk = stack.enter_context(LoopDisk(folder)) if given.disk else None
        trio.run(soak, folder if disk is None else disk.path / "state", given, disk)
    say({"seconds": round(time.monotonic() - begun, 1)})


if __name__ == "__main__":
    main()
