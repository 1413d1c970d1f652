"""What the system's own supervisor knows of the box: states of its units, and the last lines of their log.

Both are asked of systemd's tools (systemctl(1), journalctl(1)), bounded in time and size; without them there is
nothing.
"""

import json
import shutil
import subprocess
from datetime import UTC, datetime

from relay.base.limits import MAX_DIAGNOSTICS_LOG_LINES

_WITHIN_S = 10.0
_UNITS = "relay*"
_PROPERTIES = "Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus,StateChangeTimestamp"
_FIELDS = "MESSAGE,_SYSTEMD_UNIT,UNIT"
_MOST_BYTES = 1024 * 1024


def unit_states() -> list[str]:
    """Return one line a unit of the box; empty where systemd does not answer."""
    blocks = _run("systemctl", "show", _UNITS, "--all", f"--property={_PROPERTIES}").split("\n\n")
    return sorted(_state(dict(line.partition("=")[::2] for line in block.splitlines())) for block in blocks if block)


def _state(told: dict[str, str]) -> str:
    state = "/".join(filter(None, (told.get("ActiveState"), told.get("SubState"))))
    facts = {"result": "Result", "restarts": "NRestarts", "exit": "ExecMainStatus", "since": "StateChangeTimestamp"}
    return ", ".join(
        [f"{told.get('Id')}: {state}", *(f"{fact} {told[name]}" for fact, name in facts.items() if told.get(name))]
    )


def log_lines() -> list[tuple[str, str]]:
    """Return (UTC time and unit, message) of the last lines of the box's units; empty where there is no journal."""
    asked = ("--unit", _UNITS, "--lines", str(MAX_DIAGNOSTICS_LOG_LINES), "--output=json", f"--output-fields={_FIELDS}")
    lines = []
    for text in _run("journalctl", "--quiet", "--no-pager", *asked).splitlines():
        try:
            entry = json.loads(text)
            at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
        unit = entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or ""
        message = entry.get("MESSAGE")
        # What is no text is given as a list of bytes (systemd.journal-fields(7)): nothing that the box wrote.
        lines.append((f"{at:%Y-%m-%dT%H:%M:%SZ} {unit}", message if isinstance(message, str) else "(no text)"))
    return lines


def _run(*command: str) -> str:
    path = shutil.which(command[0])
    if path is None:
        return ""
    try:
        ended = subprocess.run([path, *command[1:]], capture_output=True, timeout=_WITHIN_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout[-_MOST_BYTES:].decode("utf-8", "replace")
