"""Clients for measuring: one blocking connection, and many kept busy by one loop with as little cost as possible."""

import base64
import hashlib
import json
import selectors
import socket
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

Answer = tuple[int, Any]


class HungUpError(RuntimeError):
    """The server closed the connection, as it may with one that was idle for long."""


class Connection:
    """One kept-alive HTTP/1.1 connection to a client port on loopback."""

    def __init__(self, port: int, token: str = "") -> None:
        self.token = token
        self._port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def render(self, method: str, path: str, body: object = None) -> bytes:
        """Return the bytes of one request; `path` begins after `/_matrix/client/`, unless it begins with a slash."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        target = path if path.startswith("/") else f"/_matrix/client/{path}"
        authorization = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return (
            f"{method} {target} HTTP/1.1\r\nHost: localhost:{self._port}\r\n{authorization}"
            f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        ).encode() + data

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - a JSON value
        """Return the JSON reply; None for a file.

        Raises:
            RuntimeError: it was not 200.
        """
        self.socket.sendall(self.render(method, path, body))
        while (answer := self.receive()) is None:
            pass
        status, value = answer
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {value}")
        return value

    def receive(self) -> Answer | None:
        """Read once; return an answer when it is whole."""
        data = self.socket.recv(262_144)
        if not data:
            raise HungUpError("the server closed the connection")
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        whole = _unchunked(rest) if "chunked" in headers.get("transfer-encoding", "") else _sized(rest, headers)
        if whole is None:
            return None
        body, self._buffer = whole
        is_json = headers.get("content-type", "").startswith("application/json")
        return int(lines[0].split(" ")[1]), json.loads(body) if body and is_json else None

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _sized(rest: bytes, headers: dict[str, str]) -> tuple[bytes, bytes] | None:
    length = int(headers.get("content-length", "0"))
    return (rest[:length], rest[length:]) if len(rest) >= length else None


def _unchunked(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        size, separator, rest = rest.partition(b"\r\n")
        if not separator:
            return None
        length = int(size, 16)
        if len(rest) < length + 2:
            return None
        body, rest = body + rest[:length], rest[length + 2 :]
        if length == 0:
            return body, rest


def login(port: int, user: str, password: str, device: str = "") -> Connection:
    """Return a connection of a newly logged-in device, called `device` if that is not empty."""
    connection = Connection(port)
    identifier = {"type": "m.id.user", "user": user}
    named = {"device_id": device} if device else {}
    body = {"type": "m.login.password", "identifier": identifier, "password": password, **named}
    connection.token = connection.call("POST", "v3/login", body)["access_token"]
    return connection


def quote(text: str) -> str:
    """Percent-encode one path segment."""
    return urllib.parse.quote(text, safe="")


def send_path(room: str, transaction: str) -> str:
    """Return the path that sends a message."""
    return f"v3/rooms/{quote(room)}/send/m.room.message/{transaction}"


def message(size_bytes: int, number: int) -> dict[str, str]:
    """Return message `number`: a body of `size_bytes` bytes that compresses as badly as an encrypted one."""
    noise = base64.b64encode(hashlib.shake_256(str(number).encode()).digest(size_bytes)).decode()
    return {"msgtype": "m.text", "body": f"{number} {noise}"[:size_bytes]}


def send_many(connections: list[Connection], render: Callable[[Connection, int], bytes], count: int) -> list[float]:
    """Send `count` requests, each connection its next one as soon as it has its answer; return latencies in seconds.

    Raises:
        RuntimeError: an answer was not 200.
    """
    selector = selectors.DefaultSelector()
    begun: dict[Connection, float] = {}
    latencies: list[float] = []
    sent = 0

    def send(connection: Connection) -> None:
        nonlocal sent
        begun[connection] = time.perf_counter()
        connection.socket.sendall(render(connection, sent))
        sent += 1

    for connection in connections[:count]:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        send(connection)
    while len(latencies) < count:
        for key, _ in selector.select(timeout=60):
            connection = key.data
            answer = connection.receive()
            if answer is None:
                continue
            latencies.append(time.perf_counter() - begun[connection])
            if answer[0] != 200:
                raise RuntimeError(f"{answer[0]} {answer[1]}")
            if sent < count:
                send(connection)
    selector.close()
    return latencies
