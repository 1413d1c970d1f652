"""`relay bench NAME`: runs the figures asked for and shows them beside the ones to reach."""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from relay.base.errors import InvalidInputError
from relay.cli.bench import figures
from relay.cli.bench.figures import Build, Row
from relay.cli.bench.servers import BoxServer, SynapseServer

BENCHES: dict[str, list[Callable[[Build, Path], list[Row]]]] = {
    "memory": [figures.memory],
    "start": [figures.start],
    "local": [figures.local],
    "flash": [partial(figures.flash, large=False)],
    "flash-large": [partial(figures.flash, large=True)],
    "federation": [figures.federation],
    "offline": [figures.offline],
}

TARGETS: dict[str, tuple[str, float]] = {
    "memory.idle": ("<=", 48),
    "memory.after_10000_events": ("<=", 64),
    "memory.after_10000_events_peak": ("<=", 64),
    "start.clean": ("<=", 0.5),
    "start.after_kill": ("<=", 1.0),
    "flash.small.lone": ("<=", 8 * 1024),
    "flash.large.lone": ("<=", 10 * 1024),
    "flash.small.sixteen_80b": ("<=", 4 * 1024),
    "flash.large.sixteen_80b": ("<=", 4 * 1024),
    "flash.small.sixteen_1kib": ("<=", 5.5 * 1024),
    "flash.large.sixteen_1kib": ("<=", 5.5 * 1024),
    "federation.bytes.sender": ("<=", 12 * 1024),
    "federation.bytes.receiver": ("<=", 12 * 1024),
    "local.sends_per_s.one": (">=", 400),
    "local.sends_per_s.sixteen": (">=", 1500),
    "federation.send_to_sync_p50": ("<=", 8),
    "federation.send_to_sync_p99": ("<=", 25),
    "offline.arrived": (">=", 200),
    "offline.last_arrived_after": ("<=", 5),
}


def run(name: str, synapse: Path | None, *, as_json: bool) -> str:
    """Measure and return what to print.

    Args:
        name: one of `BENCHES`, or `all` (everything but `flash-large`, which takes minutes).
        synapse: a Python that has matrix-synapse, to measure it in the same run; None leaves it out.
        as_json: machine-readable instead of a table.

    Raises:
        InvalidInputError: there is no bench of that name.
    """
    if name != "all" and name not in BENCHES:
        raise InvalidInputError(f"no bench called {name}; known are {', '.join(BENCHES)}, all")
    chosen = [key for key in BENCHES if name in (key, "all") and (name != "all" or key != "flash-large")]
    builds: dict[str, Build] = {"doorstep": BoxServer}
    if synapse is not None:
        builds["synapse"] = partial(SynapseServer, python=synapse.absolute())
    results: dict[str, dict[str, Row]] = {}
    folder = Path(tempfile.mkdtemp(prefix="doorstep-bench-"))
    try:
        for key in chosen:
            for kind, build in builds.items():
                if key == "flash-large" and kind == "synapse":
                    continue  # filling it with 100,000 events would take it half an hour
                for number, measure in enumerate(BENCHES[key]):
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
        ours = by_kind["doorstep"]
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
