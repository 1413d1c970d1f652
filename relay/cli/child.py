"""The console's operator: each request is carried out by a process that ends with it.

The console stays small, and a request that goes wrong cannot take the cable's console down.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from relay.base.config import FILE_NAME, OWNER_FILE_NAME
from relay.base.errors import Fault
from relay.base.limits import MAX_ADMIN_LINE_BYTES
from relay.cli.files import write_whole
from relay.console.operator import Place

_DRAFT = Path("console") / "draft.json"
_DONE = Path("console") / "done.json"
_END_WITHIN_S = 5.0


def command_for(folder: Path) -> list[str]:
    """Return the command that answers one request on the state folder."""
    return [sys.executable, "-m", "relay", "ask", "--state", str(folder)]


class ChildCall:
    """One process, spoken to over a socket pair that is its standard input and output."""

    def __init__(self, command: list[str], fields: dict[str, Any], *, quiet: bool) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            stderr = subprocess.DEVNULL if quiet else None
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=stderr)  # noqa: S603
        self._socket.sendall(json.dumps(fields).encode("ascii") + b"\n")
        self._socket.setblocking(False)  # noqa: FBT003 - the library's own signature
        self._received = bytearray()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is news."""
        return self._socket.fileno()

    def finish(self) -> dict[str, Any] | None:
        """Return the reply, None while there is none yet."""
        try:
            data = self._socket.recv(65_536)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        self._received += data
        if data and b"\n" not in data and len(self._received) <= MAX_ADMIN_LINE_BYTES:
            return None
        try:
            reply = json.loads(self._received)
        except ValueError:
            reply = None
        if isinstance(reply, dict):
            return reply
        return {
            "ok": False,
            "code": "internal",
            "fault": Fault.BUG.value,
            "retryable": True,
            "message": "the request ended without an answer; doctor may know why",
        }

    def cancel(self) -> None:
        """End the process, if it has not ended by itself."""
        self._socket.close()
        deadline = time.monotonic() + _END_WITHIN_S
        self._process.terminate()
        try:
            self._process.wait(deadline - time.monotonic())
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ChildOperator:
    """The operator of one state folder.

    Args:
        folder: the state folder.
        quiet: keeps the children's log off a terminal that is being drawn on.
        planned: what a draft begins with.
        from_afar: whoever asks may lose the box with a change of its network.
    """

    def __init__(
        self, folder: Path, *, quiet: bool, planned: dict[str, str] | None = None, from_afar: bool = False
    ) -> None:
        self._folder = folder
        self._quiet = quiet
        self._planned = planned or {}
        self._from_afar = from_afar

    def begin(self, fields: dict[str, Any]) -> ChildCall:
        """Begin one request."""
        if self._from_afar and fields.get("verb") in ("set", "wifi_join"):
            fields = {**fields, "from_afar": True}
        return ChildCall(command_for(self._folder), fields, quiet=self._quiet)

    def provisioned(self) -> bool:
        """Return whether the folder is a box."""
        return (self._folder / FILE_NAME).exists()

    def claimed(self) -> bool:
        """Return whether the folder is a box that somebody looks after; where that cannot be read, somebody does."""
        if not self.provisioned():
            return False
        try:
            return json.loads((self._folder / OWNER_FILE_NAME).read_bytes())["claimed"] is not False
        except (OSError, ValueError, KeyError, TypeError):
            return True

    def place(self) -> Place:
        """Return where the box is found, as far as the kernel and the settings tell."""
        from relay.base.config import load
        from relay.base.errors import ConfigError
        from relay.box.links import own_address
        from relay.cli.invitation import public_url

        url = ""
        if self.provisioned():
            with contextlib.suppress(ConfigError):
                url = public_url(load(self._folder))
        return Place(online=bool(own_address()), url=url)

    def load_draft(self) -> dict[str, str]:
        """Return the draft kept last; one that cannot be read is none."""
        try:
            draft = json.loads((self._folder / _DRAFT).read_bytes())
        except (OSError, ValueError):
            draft = {}
        if not isinstance(draft, dict):
            draft = {}
        return self._planned | {key: value for key, value in draft.items() if isinstance(value, str)}

    def keep_draft(self, draft: dict[str, str] | None) -> None:
        """Write the draft, or remove it."""
        self._keep(_DRAFT, draft)

    def load_done(self) -> dict[str, tuple[str, str]]:
        """Return what became of programs' requests, as kept last; a file that cannot be read is none."""
        try:
            done = json.loads((self._folder / _DONE).read_bytes())
            return {str(name): (str(verb), str(state)) for name, (verb, state) in done.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def keep_done(self, done: dict[str, tuple[str, str]]) -> None:
        """Write what became of programs' requests, or remove it."""
        self._keep(_DONE, done)

    def _keep(self, name: Path, content: object) -> None:
        path = self._folder / name
        if content:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, json.dumps(content).encode("ascii"))
            return
        path.unlink(missing_ok=True)
        # The folder goes with the last of its files.
        with contextlib.suppress(OSError):
            path.parent.rmdir()
