"""What a box takes stays within bounds however many messages pass through it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.base.limits import MIB
from relay.rooms.matrix.storage.sweeping import NEW_GROUPS

ROOT = Path(__file__).resolve().parent.parent.parent
Points = list[dict[str, Any]]
_JOURNAL_BYTES = 8 * 4 * MIB + 64 * 1024


def soak(capsys: pytest.CaptureFixture[str], messages: int, *arguments: str, timeout_s: int = 300) -> Points:
    """Run a soak in a process of its own and return what it measured."""
    command = [sys.executable, "-m", "tests.soak.soak", "--messages", str(messages), *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    *points, end = [json.loads(line) for line in ran.stdout.splitlines()]
    with capsys.disabled():
        print(f"\nsoak {' '.join(arguments)}: {_summary(points)}; {end['seconds']} s")
    return points


def _summary(points: Points) -> str:
    shown = [points[0], points[len(points) // 2], points[-1]]
    return "; ".join(
        f"after {point['messages']}: RSS {point['rss_mib']} MiB, index {point['index_bytes'] / MIB:.1f} MiB"
        f" (file {point['file_bytes'] / MIB:.1f}), journal {point['journal_bytes'] / MIB:.0f} MiB,"
        f" media {point['media_bytes'] / MIB:.1f} MiB, {point['events']} events kept"
        for point in shown
    )


def check_plateaus(points: Points) -> None:
    assert len(points) == 10
    half, late = points[: len(points) // 2], points[-1]
    assert late["let_go"] > late["messages"] // 2
    assert all(point["journal_bytes"] <= _JOURNAL_BYTES for point in points)
    # Half of all files are another server's: they leave room for one large file of 50 MiB in the 64 of the quota.
    assert late["media_bytes"] <= 15 * MIB
    # Unused groups, and the state that only they knew, are swept when enough of them have gathered.
    for what, gathered in (("index_bytes", NEW_GROUPS * 600), ("events", NEW_GROUPS), ("groups", NEW_GROUPS)):
        most = max(point[what] for point in half)
        assert late[what] <= most + gathered, f"{what} grows: {most}, {late[what]}"
    assert late["rss_mib"] <= half[-1]["rss_mib"] + 4
    assert late["departures"] <= 64


@pytest.mark.slow
@pytest.mark.parametrize(("messages", "policy"), [(12_000, ("--days", "5")), (8_000, ("--budget-mib", "2"))])
def test_20_000_messages(messages: int, policy: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    check_plateaus(soak(capsys, messages, *policy))


@pytest.mark.long
@pytest.mark.parametrize("policy", [("--days", "5"), ("--budget-mib", "4")])
def test_200_000_messages(policy: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    points = soak(capsys, 200_000, *policy, timeout_s=3600)
    check_plateaus(points)
    assert points[-1]["file_bytes"] <= 2 * points[-1]["index_bytes"]
    assert points[-1]["rss_mib"] <= points[0]["rss_mib"] + 6
