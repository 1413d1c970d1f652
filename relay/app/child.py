"""Work that needs large libraries, done by a process that ends with it: the running box stays small."""

import sys
from pathlib import Path
from typing import Any

import trio

from relay.base.errors import UnreachableError
from relay.base.lines import parse_line, render_line, result_of

_WITHIN_S = 600.0


async def ask_child(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the result of one request on the state folder; cancelled, the process ends.

    Raises:
        RelayError: as the request's, or the process did not answer in time.
    """
    command = [sys.executable, "-m", "relay", "ask", "--state", str(folder)]
    with trio.move_on_after(_WITHIN_S):
        ended = await trio.run_process(command, stdin=render_line(fields), capture_stdout=True, check=False)
        return result_of(parse_line(ended.stdout or b"{}"))
    raise UnreachableError("the process did not answer in time")
