"""The admin socket of a running box: `DIR/admin.sock`, for this machine's root and the box's own user."""

import os
import socket
import struct
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Never

import trio

from relay.admin.address import SOCKET_NAME, short_address
from relay.admin.operator import Operator
from relay.admin.requests import parse_request
from relay.base.errors import ForbiddenError, RelayError
from relay.base.limits import MAX_ADMIN_CONNECTIONS
from relay.base.lines import Lines, bad, good, render_line
from relay.base.log import get_logger

_RECEIVE_BYTES = 16_384
_LAST_ANSWER_S = 1.0
_log = get_logger()


async def serve_admin(
    folder: Path, operator: Operator, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> Never:
    """Answer local operators until cancelled; the caller holds the lock of the state folder `folder`."""
    # A box that lost its power left its socket behind; the lock says that nobody listens on it.
    (folder / SOCKET_NAME).unlink(missing_ok=True)
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            with short_address(folder) as address:
                await listener.bind(address)
        finally:
            os.umask(mask)
        listener.listen(MAX_ADMIN_CONNECTIONS)
        task_status.started()
        limiter = trio.CapacityLimiter(MAX_ADMIN_CONNECTIONS)
        serve = partial(_serve_connection, operator=operator, limiter=limiter)
        await trio.serve_listeners(serve, [trio.SocketListener(listener)])
    finally:
        listener.close()
        (folder / SOCKET_NAME).unlink(missing_ok=True)


async def _serve_connection(stream: trio.SocketStream, *, operator: Operator, limiter: trio.CapacityLimiter) -> None:
    async with limiter:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            try:
                _check_peer(stream)
                await _answer_lines(stream, operator)
            except RelayError as error:
                await stream.send_all(render_line(bad(error)))


async def _answer_lines(stream: trio.SocketStream, operator: Operator) -> None:
    lines = Lines()
    while data := await stream.receive_some(_RECEIVE_BYTES):
        for fields in lines.receive(data):
            try:
                reply = good(await operator.carry_out(parse_request(fields)))
            except RelayError as error:
                reply = bad(error)
            except Exception as error:  # noqa: BLE001 - see below
                # A bug in one answer must not take the box down; its type says enough without saying anything private.
                _log.error("admin.request_failed", kind=type(error).__name__)
                reply = bad(RelayError("the box failed on this request; its log has more"))
            # The answer to `stop` is still owed when the stop has already begun.
            with trio.move_on_after(_LAST_ANSWER_S, shield=True):
                await stream.send_all(render_line(reply))


def _check_peer(stream: trio.SocketStream) -> None:
    _, user_number, _ = struct.unpack("3i", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user_number not in (0, os.getuid()):
        raise ForbiddenError("only root and the box's own user may ask")
