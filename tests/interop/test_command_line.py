"""`relay up` from outside: how it stops, how it comes back, and what it says in one line when it cannot serve."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.box_process import ROOT, BoxProcess
from tests.interop.peer_clients import Api, quote

pytestmark = pytest.mark.interop

STOP_S = 10.0


@pytest.fixture(scope="module")
def made(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> BoxProcess:
    return BoxProcess(tmp_path_factory.mktemp("box"), authority)


@pytest.fixture
def running(made: BoxProcess) -> Iterator[BoxProcess]:
    made.start()
    try:
        yield made
    finally:
        made.kill()


def stop_kindly(box: BoxProcess, number: signal.Signals = signal.SIGTERM) -> float:
    """Ask the box to stop, check that it ended well, return how long it took."""
    assert box.process is not None
    begun = time.monotonic()
    box.process.send_signal(number)
    assert box.process.wait(STOP_S) == 0
    box.process = None
    return time.monotonic() - begun


def up(state: Path) -> subprocess.CompletedProcess[str]:
    """Try to start a box that cannot serve."""
    line = [sys.executable, "-m", "relay", "up", "--headless", "--state", str(state)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False, env=environment)


def the_line(outcome: subprocess.CompletedProcess[str]) -> str:
    """Return the one line a failed start says on standard error."""
    assert outcome.returncode == 1, outcome
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("relay: ")
    assert "Traceback" not in outcome.stderr
    return line


def client_socket(box: BoxProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", box.client_port), timeout=STOP_S)


def federation_socket(box: BoxProcess) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(box.folder / "ca.crt"))
    port = int(box.name.rpartition(":")[2])
    return context.wrap_socket(
        socket.create_connection(("localhost", port), timeout=STOP_S), server_hostname="localhost"
    )


@contextlib.contextmanager
def in_background(what: object) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=what)  # type: ignore[arg-type]
    thread.start()
    try:
        yield thread
    finally:
        thread.join(STOP_S)


def test_it_stops_at_once_when_nothing_goes_on(running: BoxProcess) -> None:
    running.login()
    assert stop_kindly(running) < 2


def test_it_stops_on_an_interrupt_too(running: BoxProcess) -> None:
    stop_kindly(running, signal.SIGINT)


def test_it_stops_during_a_long_poll(running: BoxProcess) -> None:
    anna = running.login()
    since = anna.call("GET", "v3/sync?timeout=0")["next_batch"]
    connection = http.client.HTTPConnection("127.0.0.1", running.client_port, timeout=STOP_S)
    path = f"/_matrix/client/v3/sync?timeout=30000&since={quote(since)}"
    connection.request("GET", path, headers={"Authorization": f"Bearer {anna.token}"})
    # Answered after the poll was taken in: it waits now.
    anna.call("GET", "v3/account/whoami")
    assert stop_kindly(running) < 4
    with contextlib.suppress(http.client.RemoteDisconnected, ConnectionResetError):
        assert connection.getresponse().status in (200, 503)
    connection.close()


def test_it_stops_during_an_upload_and_keeps_nothing_of_it(running: BoxProcess) -> None:
    anna = running.login()
    with client_socket(running) as line:
        head = f"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {anna.token}\r\n"
        line.sendall(head.encode() + b"Content-Length: 1000000\r\n\r\n" + bytes(300_000))
        anna.call("GET", "v3/account/whoami")
        stop_kindly(running)
    running.start()
    media = running.state / "media"
    assert not media.exists() or not list(media.rglob("*.part"))


def test_it_stops_while_a_server_is_in_the_middle_of_a_request(running: BoxProcess) -> None:
    with federation_socket(running) as line:
        line.sendall(b"PUT /_matrix/federation/v1/send/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        running.login()
        stop_kindly(running)


def test_it_stops_while_it_waits_for_a_server_that_says_nothing(running: BoxProcess) -> None:
    anna = running.login()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        room = quote(f"#quiet:localhost:{silent.getsockname()[1]}")

        def join() -> None:
            with contextlib.suppress(Exception):
                anna.call("POST", f"v3/join/{room}", {})

        silent.settimeout(STOP_S)
        with in_background(join):
            accepted, _ = silent.accept()
            with accepted:
                stop_kindly(running)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_at_any_moment_of_its_start_it_starts_the_next_time(made: BoxProcess, number: signal.Signals) -> None:
    line = [sys.executable, "-m", "relay", "up", "--headless", "--state", str(made.state)]
    ended = set[int]()
    for tenths in range(1, 8):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(tenths / 10)
        process.send_signal(number)
        ended.add(process.wait(STOP_S))
    # Before it listens for signals there is nothing to finish: it just ends.
    assert ended <= {0, -number}
    made.start()
    made.login()
    assert "running" in made.relay("status")
    stop_kindly(made)


def test_killed_it_comes_back_with_all_it_acknowledged(running: BoxProcess) -> None:
    anna = running.login()
    room = anna.call("POST", "v3/createRoom", {})["room_id"]
    sent = [anna.send(room, f"n{number}", f"t{number}") for number in range(20)]
    for _ in range(3):
        running.kill()
        running.start()
    again = Api(running.base, anna.token)
    assert [event["event_id"] for event in again.messages(room) if event["type"] == "m.room.message"] == sent
    stop_kindly(running)
    assert (running.state / "index.db").exists()


def test_a_second_one_on_the_same_state_says_that_it_is_held(running: BoxProcess) -> None:
    assert "held by another process" in the_line(up(running.state))
    running.login()


def test_a_port_that_is_taken_is_named(made: BoxProcess) -> None:
    with socket.create_server(("127.0.0.1", made.client_port)):
        line = the_line(up(made.state))
    assert f"127.0.0.1:{made.client_port}" in line
    port = int(made.name.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        assert f"localhost:{port}" in the_line(up(made.state))


def test_a_socket_that_cannot_be_made_is_named(made: BoxProcess) -> None:
    place = made.state / "admin.sock"
    (place / "full").mkdir(parents=True)
    try:
        assert "admin.sock" in the_line(up(made.state))
    finally:
        (place / "full").rmdir()
        place.rmdir()


def test_a_wrong_key_is_named_and_changes_nothing(made: BoxProcess) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in made.state.rglob("*") if path.is_file()}

    key = made.folder / "root.key"
    right, before = key.read_bytes(), contents()
    key.write_bytes(bytes(len(right)))
    try:
        line = the_line(up(made.state))
    finally:
        key.write_bytes(right)
    assert "key" in line
    assert contents() == before


def test_a_box_waits_for_the_stick_with_its_key_and_needs_it_for_the_start_only(made: BoxProcess) -> None:
    def status() -> dict[str, Any]:
        with contextlib.suppress(RuntimeError):
            return dict(json.loads(made.relay("status", "--json")))
        outcome = subprocess.run(
            [sys.executable, "-m", "relay", "status", "--json", "--state", str(made.state)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=made.environment(),
        )
        assert outcome.returncode == 1
        return dict(json.loads(outcome.stdout))

    key, pulled = made.folder / "root.key", made.folder / "pulled.key"
    key.rename(pulled)
    plug_in = threading.Timer(2.0, pulled.rename, [key])
    made_to_wait = threading.Thread(target=made.start)
    made_to_wait.start()
    try:
        deadline = time.monotonic() + STOP_S
        while "waiting for its key" not in status().get("waits", "") and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        assert str(key) in status()["waits"]
    finally:
        plug_in.start()
        made_to_wait.join()
    try:
        key.rename(pulled)
        made.login()
        told = status()
        assert told["protection"] == "box theft"
        assert "only a start needs it" in told["theft_reveals"]["of_the_box"]
    finally:
        pulled.rename(key)
        stop_kindly(made)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[server\nname = ", "not TOML"),
        ("\xff\xfe", "not TOML"),
        ("", "server.name"),
        ('[server]\nname = "localhost"\nsize = 3\n', "size"),
        ('[server]\nname = "a b"\n', "server name"),
        ("server = 1\n", "server"),
        ("[server]\nname = 1\n", "server.name"),
        ('[server]\nname = "localhost"\n[store]\njournal_segments = 1000000\n', "journal_segments"),
        ('[server]\nname = "localhost"\n[client]\nlisten = "nowhere"\n', "HOST:PORT"),
        ("deep = " + "[" * 5000, "TOML"),
    ],
)
def test_settings_that_cannot_be_read_are_named(made: BoxProcess, tmp_path: Path, text: str, word: str) -> None:
    shutil.copytree(made.state, tmp_path / "state")
    (tmp_path / "state" / "relay.toml").write_bytes(text.encode("latin-1"))
    assert word in the_line(up(tmp_path / "state"))


def test_files_that_are_missing_or_no_files_are_named(made: BoxProcess, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(made.state, state)
    (state / "relay.toml").unlink()
    (state / "relay.toml").mkdir()
    assert "relay.toml" in the_line(up(state))
    (state / "relay.toml").rmdir()
    assert "relay provision" in the_line(up(state))
    assert "relay provision" in the_line(up(tmp_path / "nowhere"))
    settings = (made.state / "relay.toml").read_text()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        path = json.dumps(str(made.folder / name))
        assert path in settings
        (state / "relay.toml").write_text(settings.replace(path, json.dumps(str(tmp_path / "gone"))))
        assert "gone" in the_line(up(state))
        (tmp_path / "junk").write_text("no certificate")
        (state / "relay.toml").write_text(settings.replace(path, json.dumps(str(tmp_path / "junk"))))
        assert "junk" in the_line(up(state))
    (state / "relay.toml").write_text(settings.replace(f"127.0.0.1:{made.client_port}", "256.256.256.256:1"))
    assert "256.256.256.256:1" in the_line(up(state))
