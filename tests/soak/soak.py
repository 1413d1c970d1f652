"""Lives through many messages and prints what the box takes on the way: `python -m tests.soak.soak --messages 20000`.

A day passes with every `--per-day` messages. People keep the last `--days` days, or with `--budget-mib` what fits. One
line of JSON a measurement.
"""

import argparse
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
from relay.delivery.pruning.marks import DAY_MS
from tests.fakes.graph_check import flaws
from tests.soak.household import Household, open_household

POINTS = 10
_PLENTY_MIB = 1 << 20


async def soak(folder: Path, messages: int, per_day: int, days: int, budget_mib: int) -> None:
    """Live in `folder`, and look at the end whether anything refers to what went."""
    retention = {"days": 0 if budget_mib else days, "least_days": 1, "device_days": 30, "orphan_days": 2}
    async with open_household(folder, retention, (budget_mib or _PLENTY_MIB) * MIB) as household:
        await live(household, messages, per_day)
        found = await household.ledger.read(flaws)
        if found:
            raise AssertionError(found[:5])
        if household.far.taken < household.messages // 4:
            raise AssertionError(f"the other server got only {household.far.taken}")


async def live(household: Household, messages: int, per_day: int) -> None:
    measured = 0
    while household.messages < messages:
        await household.say(per_day // 2)
        await household.hear(per_day // 2)
        await household.show(4)
        # Once a day: apps come back twice, as a token says what its bearer has, and the box looks what may go.
        await household.come_by()
        await household.come_by()
        household.clock.now_ms += DAY_MS
        await household.pruner.look(at_once=True)
        if household.messages * POINTS // messages > measured:
            measured = household.messages * POINTS // messages
            say(dataclasses.asdict(await household.sizes()))


def say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--per-day", type=int, default=500)
    parser.add_argument("--days", type=int, default=5)
    parser.add_argument("--budget-mib", type=int, default=0)
    given = parser.parse_args()
    log.configure(level="warning")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="doorstep-soak-") as folder:
        trio.run(soak, Path(folder), given.messages, given.per_day, given.days, given.budget_mib)
    say({"seconds": round(time.monotonic() - begun, 1)})


if __name__ == "__main__":
    main()
