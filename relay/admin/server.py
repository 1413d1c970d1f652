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
# More than one at once is never asked for: the kernel closes what finds no room.
_DESCRIPTORS_BYTES = struct.calcsize("i")
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
    handed = _Handed()
    try:
        await _answer_each(stream, operator, lines, handed)
    finally:
        handed.close()


async def _answer_each(stream: trio.SocketStream, operator: Operator, lines: Lines, handed: "_Handed") -> None:
    while data := await handed.receive(stream.socket):
        for fields in lines.receive(data):
            try:
                reply = good(await operator.carry_out(parse_request(fields, handed.descriptor)))
            except RelayError as error:
                reply = bad(error)
            except Exception as error:  # noqa: BLE001 - see below
                # A bug in one answer must not take the box down; its type says enough without saying anything private.
                _log.error("admin.request_failed", kind=type(error).__name__)
                reply = bad(RelayError("the box failed on this request; its log has more"))
            # Whoever reads the other end waits for ours to be closed.
            handed.close()
            # The answer to `stop` is still owed when the stop has already begun.
            with trio.move_on_after(_LAST_ANSWER_S, shield=True):
                await stream.send_all(render_line(reply))


class _Handed:
    """The open file that came last beside the bytes, None where there was none.

    Attributes:
        descriptor: closed once a request was answered, whether or not it was for it.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None

    async def receive(self, connection: trio.socket.SocketType) -> bytes:
        """Return the next bytes, none at the end."""
        data, beside, _flags, _address = await connection.recvmsg(
            _RECEIVE_BYTES, socket.CMSG_LEN(_DESCRIPTORS_BYTES), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in beside:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                for (descriptor,) in struct.iter_unpack("i", content[: len(content) // 4 * 4]):
                    self.close()
                    self.descriptor = descriptor
        return data

    def close(self) -> None:
        """Close it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _check_peer(stream: trio.SocketStream) -> None:
    _, user_number, _ = struct.unpack("3i", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user_number not in (0, os.getuid()):
        raise ForbiddenError("only root and the box's own user may ask")
