import io
import os
import threading
from pathlib import Path

import pytest

from relay.base.errors import ConfigError, DamagedError, StorageError
from relay.base.limits import MIB
from relay.cli.archives import Bar, Output, Pump, read_archives, size_of
from relay.store.archive import ArchiveWriter
from relay.store.archive_key import Secret

SECRET = Secret.from_file(b"s" * 32)


def carry(output: Output, data: bytes) -> None:
    pump = Pump(output)
    pump.start()
    os.write(pump.writer, data)
    pump.wait()


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "b.bak"
    path.write_text("the one before")
    with Output(str(path), tmp_path / "state") as output:
        carry(output, b"new")
        assert path.read_text() == "the one before"
        output.keep()
    assert path.read_text() == "new"
    with Output(str(path), tmp_path / "state") as output:
        carry(output, b"half")
    assert path.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["b.bak"]


def test_a_named_pipe_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    with Output(str(path), tmp_path / "state") as output:
        carry(output, b"bytes")
        output.keep()
    reader.join()
    assert read == [b"bytes"]
    assert path.is_fifo()


def test_what_the_output_refuses_is_said_and_ends_whoever_writes(tmp_path: Path) -> None:
    with Output("/dev/full", tmp_path / "state") as output:
        pump = Pump(output)
        pump.start()
        os.write(pump.writer, b"bytes")
        with pytest.raises(StorageError, match="No space left"):
            pump.wait()
    assert Path("/dev/full").is_char_device()


def test_a_backup_inside_of_what_it_backs_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inside"):
        Output(str(tmp_path / "x" / ".." / "b.bak"), tmp_path)


def test_archives_are_read_in_order_and_faults_name_the_file(tmp_path: Path) -> None:
    names = []
    for number in range(2):
        writer = ArchiveWriter(SECRET.fresh())
        path = tmp_path / f"{number}.bak"
        path.write_bytes(writer.add(["n", number]) + writer.finish())
        names.append(str(path))
    records: list[list[object]] = []
    read_archives(names, SECRET, records.append, Bar("reading", size_of(names)))
    assert records == [["n", 0], ["n", 1]]
    with Path(names[1]).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DamagedError, match=r"1\.bak: .* something follows"):
        read_archives(names, SECRET, records.append, Bar("reading"))
    assert size_of([*names, "-"]) == 0


def test_the_bar_shows_share_and_speed() -> None:
    bar = Bar("backup", 4 * MIB)
    bar.set(MIB)
    assert bar.line().startswith("backup: [######..................]  25%, 1.0 MiB, ")
    bar.whole = 0
    assert bar.line().startswith("backup: 1.0 MiB, ")


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    quiet, terminal = io.StringIO(), Terminal()
    for stream in (quiet, terminal):
        monkeypatch.setattr("sys.stderr", stream)
        bar = Bar("backup")
        bar.add(MIB)
        bar.end()
    assert quiet.getvalue() == ""
    assert "1.0 MiB" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
