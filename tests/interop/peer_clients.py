"""Real clients as child processes: matrix-nio and matrix-js-sdk, each in its own environment, driven by JSON lines."""

import itertools
import json
import os
import queue
import ssl
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

DRIVERS = Path(__file__).parent / "drivers"


class ClientError(Exception):
    """The client's own words for what went wrong."""


class Client:
    """One client process; every call is answered within its time or raises."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._ids = itertools.count(1)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def call(self, do: str, *, within_s: float = 90, **arguments: Any) -> Any:
        """Return the result of one action; the names are those of the two driver scripts."""
        assert self._process.stdin is not None
        number = next(self._ids)
        self._process.stdin.write(json.dumps({"id": number, "do": do, "with": arguments}) + "\n")
        self._process.stdin.flush()
        while True:
            line = self._lines.get(timeout=within_s)
            if not line:
                raise ClientError(f"the client ended during {do}")
            if not line.startswith('{"id"'):
                continue
            answer = json.loads(line)
            if answer["id"] == number:
                if "error" in answer:
                    raise ClientError(f"{do}: {answer['error']}")
                return answer["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def nio_client(python: Path) -> Client:
    """Return a matrix-nio client; `python` is that of its environment."""
    return Client([str(python), str(DRIVERS / "nio_client.py")])


def js_client(node_modules: Path) -> Client:
    """Return a matrix-js-sdk client with Rust crypto."""
    return Client(["node", str(DRIVERS / "js_client.mjs")], {"MATRIX_JS_SDK": str(node_modules.parent)})


class ApiError(Exception):
    """A Matrix error reply.

    Attributes:
        status: the HTTP status.
        errcode: the Matrix error code, empty where the reply had none.
    """

    def __init__(self, status: int, errcode: str, text: str) -> None:
        super().__init__(f"{status} {errcode}: {text}")
        self.status = status
        self.errcode = errcode


class Api:
    """Plain client-server calls, to a box or to a peer alike; `tls` says whom an https address may belong to."""

    def __init__(self, base: str, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.base = base
        self.token = token
        self._tls = tls

    def call(self, method: str, path: str, body: Any = None, *, timeout_s: float = 60) -> Any:
        """Return the JSON reply; `path` begins after `/_matrix/client/`.

        Raises:
            ApiError: any reply that is not 2xx.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base}/_matrix/client/{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        return self._open(request, timeout_s)

    def _open(self, request: urllib.request.Request, timeout_s: float) -> Any:
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=self._tls) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            error.close()
            try:
                code = str(json.loads(text).get("errcode", ""))
            except ValueError:
                code = ""
            raise ApiError(error.code, code, text) from None

    def login(self, user: str, password: str) -> str:
        """Log in, keep the token, return the user id."""
        identifier = {"type": "m.id.user", "user": user}
        answer = self.call(
            "POST", "v3/login", {"type": "m.login.password", "identifier": identifier, "password": password}
        )
        self.token = answer["access_token"]
        return str(answer["user_id"])

    def send(self, room: str, text: str, transaction: str) -> str:
        """Send a text message and return its event id."""
        path = f"v3/rooms/{quote(room)}/send/m.room.message/{quote(transaction)}"
        return str(self.call("PUT", path, {"msgtype": "m.text", "body": text})["event_id"])

    def upload(self, data: bytes) -> str:
        """Upload a file and return its mxc address.

        Raises:
            ApiError: any reply that is not 2xx.
        """
        request = urllib.request.Request(f"{self.base}/_matrix/media/v3/upload", data, method="POST")
        request.add_header("Content-Type", "application/octet-stream")
        return str(self._open(request, 60)["content_uri"])

    def messages(self, room: str) -> list[dict[str, Any]]:
        """Return every event of the room this user may see, oldest first, paging back to the start."""
        events: list[dict[str, Any]] = []
        start = ""
        while True:
            query = "dir=b&limit=100" + (f"&from={quote(start)}" if start else "")
            page = self.call("GET", f"v3/rooms/{quote(room)}/messages?{query}")
            events += page["chunk"]
            if not page.get("end") or page["end"] == start:
                return events[::-1]
            start = page["end"]


def quote(text: str) -> str:
    """Percent-encode one path segment."""
    return urllib.parse.quote(text, safe="")
