"""What is measured, one function a figure; each takes fresh servers and returns rows for the report."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from relay.cli.bench.crowd import CrowdedBox
from relay.cli.bench.disk import LoopDisk
from relay.cli.bench.load import Connection, message, quote, send_many, send_path
from relay.cli.bench.servers import Server

Build = Callable[[Path], Server]
"""Makes one server in a folder that does not exist yet."""

SENDERS = 16
SHORT_BYTES = 80
MISSED = 200
_QUEUED_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one server."""

    name: str
    unit: str
    value: float | None
    note: str = ""


@contextmanager
def running(build: Build, folder: Path, users: Sequence[str] = ("anna",)) -> Iterator[Server]:
    """Give one server, started, with its users."""
    server = build(folder)
    server.prepare([server.folder / "tls/ca.pem"])
    server.start()
    try:
        for user in users:
            server.add_user(user)
        yield server
    finally:
        server.stop()


@contextmanager
def federating(build: Build, folders: tuple[Path, Path]) -> Iterator[tuple[Server, Server]]:
    """Give two servers that trust each other's CA; anna lives on the first, berta on the second."""
    pair = build(folders[0]), build(folders[1])
    trusted = [server.folder / "tls/ca.pem" for server in pair]
    try:
        for server, user in zip(pair, ("anna", "berta"), strict=True):
            server.prepare(trusted)
            server.start()
            server.add_user(user)
        yield pair
    finally:
        for server in pair:
            server.stop()


def new_room(connection: Connection) -> str:
    """Return the id of a new private room."""
    room: str = connection.call("POST", "v3/createRoom", {"preset": "private_chat"})["room_id"]
    return room


def fill(server: Server, room: str, owner: Connection, count: int, size_bytes: int, label: str) -> list[float]:
    """Send `count` messages from 16 connections of one user; return latencies in seconds."""
    connections = [Connection(server.client_port, owner.token) for _ in range(SENDERS)]

    def render(connection: Connection, number: int) -> bytes:
        return connection.render("PUT", send_path(room, f"{label}{number}"), message(size_bytes, number))

    latencies = send_many(connections, render, count)
    for connection in connections:
        connection.close()
    return latencies


def send_lone(owner: Connection, room: str, count: int, size_bytes: int, label: str) -> list[float]:
    """Send `count` messages one after the other; return latencies in seconds."""

    def render(connection: Connection, number: int) -> bytes:
        return connection.render("PUT", send_path(room, f"{label}{number}"), message(size_bytes, number))

    return send_many([owner], render, count)


def memory(build: Build, folder: Path) -> list[Row]:
    """Resident memory idle and after 10,000 events, with the peak that logins and load reached."""
    with running(build, folder) as server:
        server.stop()
        server.start()
        owner = server.login("anna")
        rows = [
            Row("memory.idle", "MiB", server.resident_mib(), "after a clean start and one login"),
            Row("memory.idle_peak", "MiB", server.peak_resident_mib()),
        ]
        room = new_room(owner)
        fill(server, room, owner, 10_000, SHORT_BYTES, "m")
        for _ in range(3):
            server.login("anna").close()
        rows += [
            Row("memory.after_10000_events", "MiB", server.resident_mib(), "three more logins included"),
            Row("memory.after_10000_events_peak", "MiB", server.peak_resident_mib()),
        ]
    return rows


def large_join(build: Build, folder: Path) -> list[Row]:
    """Resident memory of a server when one of its users joins a room of 1,000 members elsewhere."""
    folder.mkdir(parents=True)
    near, far = build(folder / "near"), CrowdedBox(folder / "far")
    trusted = [server.folder / "tls/ca.pem" for server in (near, far)]
    try:
        for server in (near, far):
            server.prepare(trusted)
            server.start()
        near.add_user("anna")
        near.stop()
        near.start()
        anna = near.login("anna")
        before = near.resident_mib()
        begun = time.perf_counter()
        anna.call("POST", f"v3/join/{quote(far.room)}?server_name={quote(far.name)}&via={quote(far.name)}", {})
        took_s = time.perf_counter() - begun
        joined = anna.call("GET", f"v3/rooms/{quote(far.room)}/joined_members")["joined"]
        anna.call("GET", "v3/sync?timeout=0")
        anna.close()
        note = f"{len(joined)} members, in {took_s:.1f} s, an initial sync included; {before:.0f} MiB before"
        return [
            Row("memory.join_1000_peak", "MiB", near.peak_resident_mib(), note),
            Row("memory.join_1000_after", "MiB", near.resident_mib()),
        ]
    finally:
        near.stop()
        far.stop()


def start(build: Build, folder: Path) -> list[Row]:
    """Seconds to the first answer: after a clean stop, and after SIGKILL with a journal to replay."""
    clean, replayed = [], []
    with running(build, folder) as server:
        owner = server.login("anna")
        room = new_room(owner)
        for attempt in range(3):
            server.stop()
            clean.append(server.start())
            owner = Connection(server.client_port, owner.token)
            fill(server, room, owner, 1_000, SHORT_BYTES, f"s{attempt}-")
            server.stop(power_cut=True)
            replayed.append(server.start())
    return [
        Row("start.clean", "s", sorted(clean)[1], "median of 3"),
        Row("start.after_kill", "s", sorted(replayed)[1], "1,000 messages since the last checkpoint; median of 3"),
    ]


def local(build: Build, folder: Path) -> list[Row]:
    """Local sends a second, one connection and sixteen."""
    with running(build, folder) as server:
        owner = server.login("anna")
        room = new_room(owner)
        send_lone(owner, room, 50, SHORT_BYTES, "warm")
        begun, cpu = time.perf_counter(), server.cpu_s()
        lone = send_lone(owner, room, 500, SHORT_BYTES, "one")
        lone_s, lone_cpu_s = time.perf_counter() - begun, server.cpu_s() - cpu
        begun, cpu = time.perf_counter(), server.cpu_s()
        fill(server, room, owner, 2_000, SHORT_BYTES, "many")
        many_s, many_cpu_s = time.perf_counter() - begun, server.cpu_s() - cpu
    return [
        Row("local.sends_per_s.one", "1/s", 500 / lone_s),
        Row("local.send_p50.one", "ms", sorted(lone)[250] * 1000),
        Row("local.cpu_per_send.one", "ms", lone_cpu_s / 500 * 1000),
        Row("local.sends_per_s.sixteen", "1/s", 2_000 / many_s),
        Row("local.cpu_per_send.sixteen", "ms", many_cpu_s / 2_000 * 1000),
    ]


def federation(build: Build, folder: Path) -> list[Row]:
    """From a send on one server to the sync of the other; device bytes on both sides where they can be counted."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        disks = [] if LoopDisk.unavailable() else [stack.enter_context(_disk(folder / side)) for side in "ab"]
        places = (disks[0].path / "s", disks[1].path / "s") if disks else (folder / "a", folder / "b")
        near, far = stack.enter_context(federating(build, places))
        anna, berta, room = _shared_room(near, far)
        _timed_round_trips(anna, berta, room, 20, "warm")
        count = 1_000 if near.kind == "doorstep" else 300
        before = [disk.written() for disk in disks]
        latencies = _timed_round_trips(anna, berta, room, count, "fed")
        for connection in (anna, berta):
            connection.close()
        near.stop()
        far.stop()
        after = [disk.written() for disk in disks]
        cut = quantiles(latencies, n=100)
        rows = [
            Row("federation.send_to_sync_p50", "ms", cut[49] * 1000),
            Row("federation.send_to_sync_p99", "ms", cut[98] * 1000),
        ]
        for side, old, new in zip(("sender", "receiver"), before, after, strict=False):
            rows.append(Row(f"federation.bytes.{side}", "bytes", (new - old).bytes / count, "clean stop included"))
    return rows


def _disk(folder: Path) -> LoopDisk:
    folder.mkdir(parents=True)
    return LoopDisk(folder)


def offline(build: Build, folder: Path) -> list[Row]:
    """Seconds from power-on until the last of 200 missed messages is there, with no further traffic."""
    folder.mkdir(parents=True)
    with federating(build, (folder / "a", folder / "b")) as (near, far):
        anna, berta, room = _shared_room(near, far)
        _timed_round_trips(anna, berta, room, 1, "warm")
        far.stop()
        send_lone(anna, room, MISSED, SHORT_BYTES, "missed")
        begun = time.perf_counter()
        far.start()
        berta = Connection(far.client_port, berta.token)
        present = 0
        while time.perf_counter() - begun < _QUEUED_S and (present := _missed_present(berta, room)) < MISSED:
            threading.Event().wait(0.1)
        took_s = time.perf_counter() - begun
    rows = [Row("offline.arrived", "messages", present, f"of {MISSED}, within {_QUEUED_S:.0f} s")]
    return [*rows, Row("offline.last_arrived_after", "s", took_s if present == MISSED else None)]


def _missed_present(connection: Connection, room: str) -> int:
    wanted = {message(SHORT_BYTES, number)["body"] for number in range(MISSED)}
    seen: set[str] = set()
    start = ""
    while True:
        page = connection.call("GET", f"v3/rooms/{quote(room)}/messages?dir=b&limit=500{start}")
        seen.update(event.get("content", {}).get("body", "") for event in page["chunk"])
        end = f"&from={quote(page.get('end', ''))}"
        if not page["chunk"] or not page.get("end") or end == start:
            return len(seen & wanted)
        start = end


def _shared_room(near: Server, far: Server) -> tuple[Connection, Connection, str]:
    anna, berta = near.login("anna"), far.login("berta")
    room = new_room(anna)
    anna.call("POST", f"v3/rooms/{quote(room)}/invite", {"user_id": f"@berta:{far.name}"})
    since = ""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline:
        answer = berta.call("GET", f"v3/sync?timeout=1000{since}")
        since = f"&since={quote(answer['next_batch'])}"
        if room in answer.get("rooms", {}).get("invite", {}):
            break
    berta.call("POST", f"v3/join/{quote(room)}?via={quote(near.name)}", {})
    return anna, berta, room


def _timed_round_trips(anna: Connection, berta: Connection, room: str, count: int, label: str) -> list[float]:
    """Send one message after the other, each when the last has reached berta's long-polling sync."""
    since = berta.call("GET", "v3/sync?timeout=0")["next_batch"]
    arrived: dict[str, float] = {}
    rung = threading.Condition()
    done = False

    def listen() -> None:
        nonlocal since
        while not done:
            answer = berta.call("GET", f"v3/sync?timeout=2000&since={quote(since)}")
            now = time.perf_counter()
            since = answer["next_batch"]
            timeline = answer.get("rooms", {}).get("join", {}).get(room, {}).get("timeline", {})
            with rung:
                arrived.update({event["event_id"]: now for event in timeline.get("events", [])})
                rung.notify()

    listener = threading.Thread(target=listen)
    listener.start()
    latencies = []
    for number in range(count):
        begun = time.perf_counter()
        event = anna.call("PUT", send_path(room, f"{label}{number}"), message(SHORT_BYTES, 10_000 + number))["event_id"]
        with rung:
            if not rung.wait_for(lambda: event in arrived, timeout=60):  # noqa: B023 - asked within the round
                break
        latencies.append(arrived[event] - begun)
    done = True
    listener.join()
    if len(latencies) < count:
        raise RuntimeError(f"message {len(latencies)} did not arrive within 60 s")
    return latencies
