"""The line to a person: a serial port, or the terminal this process was started in.

Both read and write without waiting; whoever owns one polls its descriptor. No Trio: the console that owns it may have
24 MiB, and Trio alone takes 25.
"""

import os
import stat
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import serial

from relay.base.errors import Fault, RelayError

BAUD = 115_200
# A few bytes may ask for a page, and what nobody reads of all those pages is dropped between two reads.
_READ_BYTES = 256
_CONSOLES = Path("/proc/consoles")


class HungUpError(RelayError):
    """The other end is gone: cable out, terminal closed. This descriptor never comes back."""

    code = "port.hung_up"
    fault = Fault.USER
    retryable = True


class PortUnavailableError(RelayError):
    """The port cannot be opened now; it may be plugged in later."""

    code = "port.unavailable"
    fault = Fault.USER
    retryable = True


class Port(Protocol):
    """A byte stream to a person."""

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        ...

    def read(self) -> bytes:
        """Return what has arrived, nothing where nothing has.

        Raises:
            HungUpError: the other end is gone.
        """
        ...

    def write(self, data: bytes) -> int:
        """Return how many bytes of `data` were taken, 0 where nobody reads at the moment.

        Raises:
            HungUpError: the other end is gone.
        """
        ...

    def close(self) -> None:
        """Give the line back as it was found."""
        ...


class DescriptorPort:
    """Reading and writing of a non-blocking descriptor; hang-ups of all kinds become one error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._descriptor

    def read(self) -> bytes:
        """Return what has arrived; see `Port.read`."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise HungUpError(f"the line is gone: {error.strerror}") from None
        # A gadget port whose cable is out reads nothing for ever, and so does the slave of a closed pty.
        if not data:
            raise HungUpError("the line was closed")
        return data

    def write(self, data: bytes) -> int:
        """Return how much was taken; see `Port.write`."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise HungUpError(f"the line is gone: {error.strerror}") from None

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class SerialPort(DescriptorPort):
    """A tty, 8N1, raw, for this process alone."""

    def __init__(self, path: str, *, baud: int = BAUD, shared: Callable[[], bool] = lambda: False) -> None:
        """Open and configure `path`; `shared` is asked whether the kernel's own console may be taken.

        Raises:
            PortUnavailableError: it is not there, not a tty, held by somebody else, or the kernel's own console.
        """
        if is_kernel_console(path) and not shared():
            raise PortUnavailableError(f"{path} is the kernel's console: take console= off the kernel command line")
        try:
            # Named pipes and files would block or swallow; only a character device can be a port.
            if not stat.S_ISCHR(os.stat(path).st_mode):
                raise PortUnavailableError(f"{path} is not a serial port")
            self._serial = serial.Serial(path, baud, timeout=0, exclusive=True)
        except (OSError, ValueError, termios.error) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise PortUnavailableError(f"{path}: {reason}") from None
        super().__init__(self._serial.fileno())
        # pyserial lets a read of nothing return nothing, which is also how a hang-up looks: have it say "not now".
        attributes = termios.tcgetattr(self._descriptor)
        attributes[6][termios.VMIN] = 1
        termios.tcsetattr(self._descriptor, termios.TCSANOW, attributes)

    def close(self) -> None:
        """Close the port; what nobody has read is dropped, or the kernel would hold the close up for half a minute."""
        with suppress(termios.error):
            termios.tcflush(self._descriptor, termios.TCOFLUSH)
        self._serial.close()


def is_kernel_console(path: str) -> bool:
    """Return whether the kernel writes its log to this tty: two talkers on one line make neither readable."""
    name = Path(path).resolve().name
    try:
        lines = _CONSOLES.read_text("ascii").splitlines()
    except OSError:
        return False
    return any(line.split()[:1] == [name] for line in lines)


class TerminalPort(DescriptorPort):
    """The terminal on standard input, in raw mode until closed."""

    def __init__(self) -> None:
        """Take the terminal over.

        Raises:
            PortUnavailableError: standard input is no terminal.
        """
        try:
            # An open file of its own: non-blocking mode must not leak into the shell that shares descriptor 0.
            super().__init__(os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            raise PortUnavailableError(f"no terminal here: {error.strerror}") from None
        self._before = termios.tcgetattr(self._descriptor)
        tty.setraw(self._descriptor)

    def close(self) -> None:
        """Put the terminal back into the mode it had."""
        try:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        except termios.error:
            # The window was closed: there is nothing left to restore.
            pass
        finally:
            super().close()
