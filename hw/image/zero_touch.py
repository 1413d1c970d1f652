#!/usr/bin/env python3
"""Set a box up from a file on the boot partition, without anybody at the console: once, then the file is gone.

    name = "home.example"        as `relay provision` takes them
    owner = "anna"
    password = "..."
    [wifi]
    ssid = "..."
    password = "..."
    [settings]
    "client.public_url" = "https://home.example"

What went wrong stands in doorstep-failed.txt beside it, without any secret; then the console is there as always.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STATE = "/var/lib/doorstep"
RELAY = ("/usr/bin/relay", "ask", "--state", STATE)
WITHIN_S = 300


def requests(wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the requests that `wanted` comes to, in order."""
    wifi = wanted.pop("wifi", None)
    if wifi is not None:
        yield {"verb": "wifi_join", "ssid": wifi["ssid"], "password": wifi.get("password", "")}
    settings = {key: render(value) for key, value in wanted.pop("settings", {}).items()}
    if wanted:
        yield {"verb": "provision", **wanted, "settings": settings}


def render(value: object) -> str:
    """Return a setting as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def ask(request: dict[str, Any]) -> str:
    """Carry out one request; return what went wrong, empty where nothing did."""
    line = json.dumps(request) + "\n"
    try:
        done = subprocess.run(RELAY, input=line, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        reply = json.loads(done.stdout or "{}")
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"{request['verb']}: {type(error).__name__}"
    return "" if reply.get("ok") else f"{request['verb']}: {reply.get('message', 'no answer')}"


def forget(path: Path) -> None:
    """Overwrite and remove the file; a card may still keep an old copy somewhere, as flash does."""
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def main(path: Path) -> int:
    """Do what the file says and remove it."""
    try:
        wanted = tomllib.loads(path.read_text("utf-8"))
        faults = [fault for request in requests(wanted) if (fault := ask(request))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        faults = [f"the file cannot be read: {type(error).__name__}"]
    forget(path)
    if faults:
        path.with_name("doorstep-failed.txt").write_text("\n".join([*faults, ""]))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
