"""The console as the process it is: what it loads while nobody is there, its memory, and its children."""

import os
import pty
import select
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.base.config import Config
from relay.cli.child import ChildCall, ChildOperator

ROOT = Path(__file__).resolve().parent.parent.parent
PROMISE_KIB = 24 * 1024
IDLE_KIB = 16 * 1024
# What the console may not load before somebody is there, and what it may never load at all.
LATER = {
    "json",
    "socket",
    "subprocess",
    "dataclasses",
    "inspect",
    "tomllib",
    "relay.console.session",
    "relay.cli.child",
}
NEVER = {"trio", "click", "rich", "cryptography", "ssl", "structlog", "segno", "nacl", "apsw", "asyncio", "relay.store"}
LIST_MODULES = (
    "import atexit, sys; atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)));"
    "sys.argv[0] = 'relay'; from relay.cli import main; main()"
)


class Terminal:
    """The person's end of a pty with a console process on the other."""

    def __init__(self, state: Path) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.master)
        command = [
            sys.executable,
            "-c",
            LIST_MODULES,
            "console",
            "--state",
            str(state),
            "--port",
            os.ttyname(self.slave),
        ]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        # The port is configured right before the console begins to wait.
        _until(lambda: termios.tcgetattr(self.slave)[4] == termios.B115200)

    def type(self, text: str, until: str) -> str:
        os.write(self.master, text.encode())
        seen = b""
        deadline = time.monotonic() + 20
        while until.encode() not in seen:
            assert select.select([self.master], [], [], deadline - time.monotonic())[0], seen
            seen += os.read(self.master, 65_536)
        return seen.decode()

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def modules(self) -> set[str]:
        self.process.terminate()
        _, stderr = self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        return set(stderr.decode().split())


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)


@contextmanager
def console(state: Path) -> Iterator[Terminal]:
    terminal = Terminal(state)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.communicate()
        os.close(terminal.master)
        os.close(terminal.slave)


@pytest.mark.slow
def test_until_somebody_is_there_the_process_is_bare(tmp_path: Path) -> None:
    with console(tmp_path) as terminal:
        rss_kib = terminal.rss_kib()
        modules = terminal.modules()
    assert not modules & (LATER | NEVER)
    assert rss_kib <= IDLE_KIB


@pytest.mark.slow
def test_a_busy_console_keeps_its_promise_of_memory(tmp_path: Path) -> None:
    with console(tmp_path) as terminal:
        terminal.type("\r", "new box> ")
        terminal.type("help\rset na\tbox.example\r?\x15", "set KEY VALUE")
        assert "missing: owner" in terminal.type("status\r", "owner's password)")
        terminal.type('\n\x04\n{"seq":1,"verb":"doctor"}\n', '"ok":true')
        rss_kib = terminal.rss_kib()
        modules = terminal.modules()
    assert not modules & NEVER
    assert rss_kib <= PROMISE_KIB


def finished(call: ChildCall) -> dict[str, object]:
    reply = None
    while reply is None:
        assert select.select([call], [], [], 20)[0]
        reply = call.finish()
    call.cancel()
    return reply


@pytest.mark.slow
def test_a_child_answers_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    operator = ChildOperator(tmp_path, quiet=True)
    assert operator.provisioned()
    reply = finished(operator.begin({"verb": "show"}))
    assert reply["ok"] is True
    refusal = finished(operator.begin({"verb": "set", "settings": {"x.y": "1"}}))
    assert (refusal["ok"], refusal["code"]) == (False, "config.invalid")


@pytest.mark.parametrize("script", ["exit 0", "echo nonsense", "kill -9 $$", "printf '[1]\\n'"])
def test_a_child_that_does_not_answer_is_an_answer_too(script: str) -> None:
    reply = finished(ChildCall(["/bin/sh", "-c", f"read line; {script}"], {"verb": "status"}, quiet=True))
    assert reply["ok"] is False


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    call = ChildCall(["/bin/sh", "-c", "read line; exec sleep 1000"], {"verb": "status"}, quiet=True)
    assert call.finish() is None
    call.cancel()
    assert call._process.returncode is not None


def test_the_draft_lies_in_the_state_folder_and_goes_without_a_trace(tmp_path: Path) -> None:
    state = tmp_path / "state"
    operator = ChildOperator(state, quiet=True)
    assert operator.load_draft() == {}
    operator.keep_draft({"name": "box.example"})
    assert ChildOperator(state, quiet=True).load_draft() == {"name": "box.example"}
    operator.keep_draft(None)
    operator.keep_draft(None)
    assert list(state.iterdir()) == []


def test_what_became_of_requests_lies_beside_the_draft_and_goes_without_a_trace(tmp_path: Path) -> None:
    state = tmp_path / "state"
    operator = ChildOperator(state, quiet=True)
    operator.keep_done({"a1": ("restart", "done")})
    operator.keep_draft({"name": "box.example"})
    operator.keep_draft(None)
    assert ChildOperator(state, quiet=True).load_done() == {"a1": ("restart", "done")}
    for damaged in ("", "[]", '{"a1": 5}', '{"a1": [1]}'):
        (state / "console" / "done.json").write_text(damaged)
        assert operator.load_done() == {}
    operator.keep_done({})
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"name": 5}', "{"])
def test_a_damaged_draft_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "console").mkdir()
    (tmp_path / "console" / "draft.json").write_text(content)
    assert ChildOperator(tmp_path, quiet=True).load_draft() == {}
