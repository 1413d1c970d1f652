import os
import pty
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from relay.box import serial_port
from relay.box.serial_port import HungUpError, Port, PortUnavailableError, SerialPort, TerminalPort, is_kernel_console
from tests.fakes.line import Cable

Line = tuple[Port, Callable[[bytes], None], Callable[[], bytes], Callable[[], None]]


class Pty:
    """A pty pair: the master is the person's end."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(self.master)
        self.path = os.ttyname(slave)
        # Stays open until the port is: a slave nobody holds reads as hung up.
        self.slave = slave
        os.set_blocking(self.master, False)

    def write(self, data: bytes) -> None:
        os.write(self.master, data)

    def read(self) -> bytes:
        data = b""
        with suppress(BlockingIOError, OSError):
            while piece := os.read(self.master, 65_536):
                data += piece
        return data

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        for descriptor in (self.master, self.slave):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def pair() -> Iterator[Pty]:
    pair = Pty()
    yield pair
    pair.close()


@pytest.fixture(params=["a pty", "the fake"])
def line(request: pytest.FixtureRequest, pair: Pty) -> Iterator[Line]:
    if request.param == "a pty":
        port = SerialPort(pair.path)
        yield port, pair.write, pair.read, pair.hang_up
        port.close()
    else:
        cable = Cable()
        fake = cable.open()
        yield fake, cable.type, cable.seen, cable.unplug
        fake.close()
        cable.close()


def test_bytes_go_both_ways_unchanged(line: Line) -> None:
    port, type_, seen, _ = line
    data = bytes(range(256))
    type_(data)
    assert port.read() == data
    assert port.write(data) == 256
    assert seen() == data


def test_a_quiet_line_reads_nothing_and_does_not_wait(line: Line) -> None:
    assert line[0].read() == b""


def test_a_hang_up_is_an_error_that_stays(line: Line) -> None:
    port, _, _, hang_up = line
    hang_up()
    for _ in range(2):
        with pytest.raises(HungUpError):
            port.read()


def test_what_was_typed_before_a_hang_up_is_lost_or_read_but_never_hangs(line: Line) -> None:
    port, type_, _, hang_up = line
    type_(b"last words")
    hang_up()
    with suppress(HungUpError):
        assert port.read() in (b"last words", b"")
    with pytest.raises(HungUpError):
        port.read()


def test_a_line_that_nobody_reads_takes_part_and_then_nothing(line: Line) -> None:
    port, _, seen, _ = line
    taken = [port.write(b"x" * 65_536) for _ in range(40)]
    assert taken[-1] == 0
    assert seen() == b"x" * sum(taken)


def test_a_port_is_for_one_process_alone(pair: Pty) -> None:
    port = SerialPort(pair.path)
    try:
        with pytest.raises(PortUnavailableError):
            SerialPort(pair.path)
    finally:
        port.close()


@pytest.mark.parametrize("path", ["/dev/no-such-port", "/dev/null", "/etc/passwd", "/tmp"])
def test_what_is_no_port_is_refused_with_its_name(path: str) -> None:
    with pytest.raises(PortUnavailableError, match=path):
        SerialPort(path)


def test_the_kernels_console_is_refused_unless_the_board_shares_it(
    pair: Pty, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    consoles = tmp_path / "consoles"
    consoles.write_text(f"tty0 -WU (EC p  )    4:1\n{Path(pair.path).name} -W- (EC )  4:64\n")
    monkeypatch.setattr(serial_port, "_CONSOLES", consoles)
    assert is_kernel_console("/dev/tty0")
    with pytest.raises(PortUnavailableError, match="kernel's console"):
        SerialPort(pair.path)
    SerialPort(pair.path, shared=lambda: True).close()
    monkeypatch.setattr(serial_port, "_CONSOLES", tmp_path / "missing")
    assert not is_kernel_console("/dev/tty0")


def test_a_terminal_is_raw_while_it_is_used_and_then_as_before(pair: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "ttyname", lambda _: pair.path)
    attributes = termios.tcgetattr(pair.slave)
    attributes[3] |= termios.ECHO | termios.ICANON
    termios.tcsetattr(pair.slave, termios.TCSANOW, attributes)
    before = termios.tcgetattr(pair.slave)
    terminal = TerminalPort()
    assert not termios.tcgetattr(pair.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert os.get_blocking(pair.slave)
    pair.write(b"\x03")
    assert terminal.read() == b"\x03"
    terminal.close()
    assert termios.tcgetattr(pair.slave) == before


def test_a_terminal_whose_window_was_closed_can_still_be_closed(pair: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "ttyname", lambda _: pair.path)
    terminal = TerminalPort()
    pair.hang_up()
    with pytest.raises(HungUpError):
        terminal.read()
    terminal.close()


def test_no_terminal_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(_: int) -> str:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(os, "ttyname", no_terminal)
    with pytest.raises(PortUnavailableError, match="no terminal"):
        TerminalPort()
