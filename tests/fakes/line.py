"""A cable in memory: the port of a console and the hands of a person at the other end."""

import socket
from contextlib import suppress

from relay.box.serial_port import HungUpError, PortUnavailableError


class CablePort:
    """The box's end, with the behaviour of `SerialPort` on a pty."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def read(self) -> bytes:
        try:
            data = self._end.recv(4096)
        except BlockingIOError:
            return b""
        except ConnectionError:
            data = b""
        if not data:
            raise HungUpError("the line was closed")
        return data

    def write(self, data: bytes) -> int:
        try:
            return self._end.send(data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            raise HungUpError("the line was closed") from None

    def close(self) -> None:
        self._end.close()


class Cable:
    """Plugged in at first; `unplug` and `plug` as often as a test likes."""

    def __init__(self) -> None:
        self._theirs: socket.socket | None = None
        self._ours: socket.socket | None = None
        self.opened = 0
        self.plug()

    def plug(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        for end in (self._ours, self._theirs):
            end.setblocking(False)

    def unplug(self) -> None:
        if self._theirs is not None:
            self._theirs.close()
        self._theirs = None

    def open(self) -> CablePort:
        self.opened += 1
        if self._theirs is None or self._ours is None:
            raise PortUnavailableError("unplugged")
        ours, self._ours = self._ours, None
        return CablePort(ours)

    def type(self, data: bytes) -> None:
        assert self._theirs is not None
        self._theirs.sendall(data)

    def seen(self) -> bytes:
        assert self._theirs is not None
        data = b""
        with suppress(BlockingIOError):
            while piece := self._theirs.recv(65_536):
                data += piece
        return data

    def close(self) -> None:
        for end in (self._ours, self._theirs):
            if end is not None:
                end.close()
