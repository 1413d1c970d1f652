"""`relay bench NAME`: runs the figures asked for and shows them beside the ones to reach."""

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from relay.base.errors import InvalidInputError
from relay.cli.bench import figures, flash
from relay.cli.bench.figures import Build, Row
from relay.cli.bench.servers import BoxServer, SynapseServer

BENCHES: dict[str, list[Callable[[Build, Path], list[Row]]]] = {
    "memory": [figures.memory, figures.large_join],
    "start": [figures.start],
    "local": [figures.local],
    "federation": [figures.federation],
    "offline": [figures.offline],
}

TARGETS: dict[str, tuple[str, float]] = {
    "memory.idle": ("<=", 48),
    "memory.after_10000_events": ("<=", 64),
    "memory.after_10000_events_peak": ("<=", 64),
    "memory.join_1000_after": ("<=", 64),
    "start.clean": ("<=", 0.5),
    "start.after_kill": ("<=", 1.0),
    "flash.small.one_80b": ("<=", 8 * 1024),
    "flash.large.one_80b": ("<=", 10 * 1024),
    "flash.small.sixteen_80b": ("<=", 4 * 1024),
    "flash.large.sixteen_80b": ("<=", 4 * 1024),
    "flash.small.sixteen_1kib": ("<=", 5.5 * 1024),
    "flash.large.sixteen_1kib": ("<=", 5.5 * 1024),
    **{
        f"flash.{size}.{many}_{body}.flushes_per_commit": ("<=", 1.1)
        for size in ("small", "large")
        for many in flash.SENDERS.values()
        for body in flash.BODIES.values()
    },
    "idle.bytes_per_hour": ("<=", 0),
    "idle.flushes_per_hour": ("<=", 0),
    "federation.bytes.sender": ("<=", 12 * 1024),
    "federation.bytes.receiver": ("<=", 12 * 1024),
    "local.sends_per_s.one": (">=", 400),
    "local.sends_per_s.sixteen": (">=", 1500),
    "federation.send_to_sync_p50": ("<=", 8),
    "federation.send_to_sync_p99": ("<=", 25),
    "offline.arrived": (">=", 200),
    "offline.last_arrived_after": ("<=", 5),
}


def run(name: str, synapse: Path | None, *, as_json: bool, scale: flash.Scale) -> str:
    """Measure and return what to print.

    Args:
        name: one of `BENCHES`, `flash`, or `all`.
        synapse: a Python that has matrix-synapse, to measure it in the same run; None leaves it out.
        as_json: machine-readable instead of a table.
        scale: how much `flash` measures.

    Raises:
        InvalidInputError: there is no bench of that name.
    """
    benches = {**BENCHES, "flash": flash.measures(scale)}
    if name != "all" and name not in benches:
        raise InvalidInputError(f"no bench called {name}; known are {', '.join(benches)}, all")
    # A bench that is ended gives its disks back too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    builds: dict[str, Build] = {"doorstep": BoxServer}
    if synapse is not None:
        builds["synapse"] = partial(SynapseServer, python=synapse.absolute())
    results: dict[str, dict[str, Row]] = {}
    folder = Path(tempfile.mkdtemp(prefix="doorstep-bench-"))
    try:
        for key in benches if name == "all" else [name]:
            for kind, build in builds.items():
                for number, measure in enumerate(benches[key]):
                    for row in measure(build, folder / f"{key}-{kind}-{number}"):
                        results.setdefault(row.name, {})[kind] = row
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _as_json(results) if as_json else _as_table(results, list(builds))


def met(name: str, value: float | None) -> bool | None:
    """Return whether the figure reaches its target; None where it has none or could not be measured."""
    if value is None or name not in TARGETS:
        return None
    relation, target = TARGETS[name]
    return value <= target if relation == "<=" else value >= target


def _as_json(results: dict[str, dict[str, Row]]) -> str:
    rows = {}
    for name, by_kind in results.items():
        ours = by_kind.get("doorstep") or Row(name, "", None)
        rows[name] = {
            "unit": ours.unit,
            "note": ours.note,
            "target": "".join(map(str, TARGETS.get(name, ()))) or None,
            "met": met(name, ours.value),
            **{kind: row.value for kind, row in by_kind.items()},
        }
    return json.dumps(rows, indent=1)


def _as_table(results: dict[str, dict[str, Row]], kinds: list[str]) -> str:
    lines = [["figure", "unit", "target", *kinds, "note"]]
    for name, by_kind in results.items():
        relation, target = TARGETS.get(name, ("", 0))
        ours = by_kind["doorstep"]
        verdict = {True: " ok", False: " MISSED", None: ""}[met(name, ours.value)]
        values = [_number(by_kind[kind].value) if kind in by_kind else "-" for kind in kinds]
        values[0] += verdict
        lines.append([name, ours.unit, f"{relation} {target:g}" if relation else "", *values, ours.note])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _number(value: float | None) -> str:
    if value is None:
        return "unavailable"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
