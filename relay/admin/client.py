"""How a short-lived process asks the running box: bare sockets, no Trio, one question and one answer."""

import socket
import time
from pathlib import Path
from typing import Any

from relay.admin.address import short_address
from relay.base.errors import Fault, RelayError, UnreachableError
from relay.base.limits import ADMIN_CALL_TIMEOUT_S
from relay.base.lines import Lines, render_line, result_of


class NotRunningError(RelayError):
    """No box serves this state folder."""

    code = "admin.not_running"
    fault = Fault.USER
    retryable = True


def ask(
    folder: Path, fields: dict[str, Any], *, timeout_s: float = ADMIN_CALL_TIMEOUT_S, descriptor: int | None = None
) -> dict[str, Any]:
    """Return the running box's result for the request `fields` (wire form), an open file handed over with it if given.

    Raises:
        NotRunningError: nobody listens.
        AnsweredError: the box refused or failed.
        UnreachableError: the box took the request and went away, or said nothing for `timeout_s`.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            with short_address(folder) as address:
                connection.connect(address)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NotRunningError("the box is not running") from None
        except OSError as error:
            raise UnreachableError(f"the admin socket does not answer: {error.strerror}") from None
        try:
            _send(connection, render_line(fields), descriptor)
            return result_of(_receive_one(connection, time.monotonic() + timeout_s))
        except OSError as error:
            raise UnreachableError(f"the box went away while it was asked: {error.strerror or error}") from None


def _send(connection: socket.socket, line: bytes, descriptor: int | None) -> None:
    sent = 0 if descriptor is None else socket.send_fds(connection, [line], [descriptor])
    connection.sendall(line[sent:])


def _receive_one(connection: socket.socket, deadline: float) -> dict[str, Any]:
    lines = Lines()
    while data := connection.recv(16_384):
        for reply in lines.receive(data):
            return reply
        connection.settimeout(max(0.01, deadline - time.monotonic()))
    raise UnreachableError("the box closed the connection without an answer")
