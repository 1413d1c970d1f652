"""What reaches flash: for each message, in an idle hour, in a family's day, in a year."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relay.app.house import MEDIA_FOLDER
from relay.cli.bench import household, live, virtual
from relay.cli.bench.disk import LoopDisk, Written
from relay.cli.bench.figures import Build, Row, new_room, running
from relay.cli.bench.large import large_state
from relay.cli.bench.load import Connection, message, send_many, send_path
from relay.cli.bench.meter import KINDS
from relay.cli.bench.servers import BoxServer, FoundBox, GrownBox, Server
from relay.cli.bench.wear import Year, project

SENDERS = {1: "one", 4: "four", 16: "sixteen"}
BODIES = {80: "80b", 1_024: "1kib"}
LONG_COMMIT_S = 300.0
_SYNAPSE_SENDS = 400
_SETTLE_S = 75.0
"""Longer than the lazy commit and the kernel's write-back after it take."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        events: in the large database; 0 leaves it out.
        sends: messages of a lone sender; enough for a checkpoint by journal volume to fall among them.
        messages: of the family's day that are replayed at its pace; the figures are for a whole day whatever it is.
        hurried: of the family's day that are replayed as fast as the servers answer.
        idle_s: how long nothing is done.
        settle_s: how long before that everything is left to come to rest.
        cases: (senders, bytes in a body) of messages.
    """

    events: int = 100_000
    sends: int = 4_200
    messages: int = household.DAY_MESSAGES
    hurried: int = household.DAY_MESSAGES // 4
    idle_s: float = 90.0
    settle_s: float = _SETTLE_S
    cases: tuple[tuple[int, int], ...] = tuple((senders, size_bytes) for senders in SENDERS for size_bytes in BODIES)


QUICK = Scale(events=100, sends=20, messages=10, hurried=10, idle_s=0.5, settle_s=0.5, cases=((4, 80),))
"""Only whether it works: the figures mean nothing."""

Measure = Callable[[Build, Path], list[Row]]


def measures(scale: Scale) -> list[Measure]:
    """Return what `relay bench flash` measures."""
    if reason := LoopDisk.unavailable():
        return [lambda _build, _folder: [Row("flash", "bytes", None, reason)]]
    return [
        lambda build, folder: small(build, folder, scale),
        lambda build, folder: large(build, folder, scale),
        lambda build, folder: lived(build, folder, scale),
        lambda build, folder: day(build, folder, scale),
    ]


def small(build: Build, folder: Path, scale: Scale) -> list[Row]:
    """Bytes and flushes for each message in a database that begins empty."""
    with _disk(folder) as disk, running(build, disk.path / "server") as server:
        anna = server.login("anna")
        anna.close()
        return _messages(server, anna.token, disk, "flash.small", scale)


def large(build: Build, folder: Path, scale: Scale) -> list[Row]:
    """The same in a database that holds many events; not for a Synapse, which would take half an hour to fill."""
    if build is not BoxServer or not scale.events:
        return []
    grown = large_state(scale.events)
    with _disk(folder) as disk, running(lambda place: GrownBox(place, grown), disk.path / "server", ()) as server:
        assert isinstance(server, GrownBox)
        return _messages(server, server.token, disk, "flash.large", scale)


def _messages(server: Server, token: str, disk: LoopDisk, name: str, scale: Scale) -> list[Row]:
    rows: list[Row] = []
    sends = scale.sends if server.kind == BoxServer.kind else min(scale.sends, _SYNAPSE_SENDS)
    owner = Connection(server.client_port, token)
    room = new_room(owner)
    owner.close()
    for senders, many in SENDERS.items():
        for size_bytes, body in BODIES.items():
            if (senders, size_bytes) not in scale.cases:
                continue
            count = sends if senders == 1 else 2 * sends
            server.stop()
            server.start()
            connections = [Connection(server.client_port, token) for _ in range(senders)]
            commits, before = server.commits(), disk.written()
            label = f"{many}{size_bytes}-"

            def render(connection: Connection, number: int) -> bytes:
                path = send_path(room, f"{label}{number}")  # noqa: B023 - rendered within the round
                return connection.render("PUT", path, message(size_bytes, number))  # noqa: B023 - the same

            send_many(connections, render, count)
            made = server.commits()
            server.stop()
            used = disk.written() - before
            server.start()
            for connection in connections:
                connection.close()
            of_these = None if commits is None or made is None else made - commits
            rows += _message_rows(f"{name}.{many}_{body}", used, count, of_these)
    return rows


def _message_rows(name: str, used: Written, count: int, commits: int | None) -> list[Row]:
    note = f"{count} messages, clean stop included"
    rows = [Row(name, "bytes", used.bytes / count, note), Row(f"{name}.flushes", "1", used.flushes / count)]
    if commits:
        rows.append(Row(f"{name}.flushes_per_commit", "1", used.flushes / commits, f"{commits} commits"))
    return rows


def lived(build: Build, folder: Path, scale: Scale) -> list[Row]:
    """A family's day as fast as the server answers, the same for every server; then hours in which nothing happens."""
    with _disk(folder) as disk:
        marks: list[Written] = []

        def mark() -> None:
            marks.append(disk.written())

        asked = disk.written()
        of_asking = disk.written() - asked
        acts = household.draw_day(scale.hurried)
        build = FoundBox if build is BoxServer else build
        with live.family_servers(build, disk.path / "near", folder / "other") as (near, far):
            family = live.LiveFamily(near, far)
            player = family.hurry(acts, mark)
            near.stop()
            mark()
            near.start()
            family.rest(player, acts[:40], [(scale.settle_s, mark), (scale.idle_s, mark)])
    day_used, idle_used = marks[1] - marks[0] - of_asking, marks[3] - marks[2] - of_asking
    return [*_hurried_rows(day_used, scale), *_idle_rows(idle_used, scale)]


def _hurried_rows(used: Written, scale: Scale) -> list[Row]:
    days = scale.hurried / household.DAY_MESSAGES
    note = f"{scale.hurried} messages of {household.DAY_MESSAGES}, clean stop included"
    rows = [
        Row("hurried_day.bytes", "bytes", used.bytes / days, note),
        Row("hurried_day.flushes", "1", used.flushes / days, note),
    ]
    return [*rows, *_year_rows("hurried_year", project(used.bytes / days, used.flushes / days, 0))]


def _idle_rows(used: Written, scale: Scale) -> list[Row]:
    hours = scale.idle_s / 3600
    note = f"in {scale.idle_s:g} s: apps wait, a server with mail is gone; logs elsewhere"
    return [
        Row("idle.bytes_per_hour", "bytes", used.bytes / hours, note),
        Row("idle.flushes_per_hour", "1", used.flushes / hours, note),
    ]


def day(build: Build, folder: Path, scale: Scale) -> list[Row]:
    """A family's day at its own pace, on a clock that jumps, and its year; only a box of this code can live by it."""
    if build is not BoxServer:
        return []
    rows = _day(folder / "default", scale, 5.0, "day")
    return [*rows, *_day(folder / "long", scale, LONG_COMMIT_S, "day_commit300")]


def _day(folder: Path, scale: Scale, commit_s: float, name: str) -> list[Row]:
    # The kernel's own timer must not count beside the one that goes by the day's clock.
    with _disk(folder, "noatime,commit=100000") as disk:
        near = disk.path / "near"
        if scale.events:
            shutil.copytree(large_state(scale.events), near)
        marks: list[tuple[Written, int]] = []

        def mark() -> None:
            marks.append((disk.written(), _kept_bytes(near)))

        acts = household.draw_day(scale.messages)
        pace = virtual.FileSystemPace(disk.device, commit_s)
        replayed = virtual.replay((near, folder / "far"), acts, pace, mark, mark)
    days = scale.messages / household.DAY_MESSAGES
    used, kept = marks[1][0] - marks[0][0], max(marks[1][1] - marks[0][1], 0)
    note = f"{scale.messages} messages at their pace, ext4 commit={commit_s:g}"
    commits = sum(replayed.meter.commits.values())
    rows = [
        Row(f"{name}.bytes", "bytes", used.bytes / days, note),
        Row(f"{name}.flushes", "1", used.flushes / days, note),
        Row(f"{name}.commits", "1", commits / days, note),
    ]
    for kind in KINDS:
        count = replayed.meter.commits[kind]
        if count:
            text = f"{count} commits"
            rows.append(
                Row(f"{name}.{kind.replace(' ', '_')}", "bytes", replayed.meter.commit_bytes[kind] / days, text)
            )
    files = replayed.meter.file_bytes
    rest = used.bytes - sum(files.values())
    rows += [
        Row(f"{name}.media_files", "bytes", files["media"] / days, f"{household.DAY_PICTURES} pictures a day"),
        Row(f"{name}.index_and_file_system", "bytes", rest / days, f"checkpoints: {replayed.checkpoints}"),
        Row(f"{name}.kept", "bytes", kept / days, "growth of index and media"),
    ]
    return [
        *rows,
        *_year_rows(name.replace("day", "year"), project(used.bytes / days, used.flushes / days, kept / days)),
    ]


def _year_rows(name: str, year: Year) -> list[Row]:
    return [
        Row(f"{name}.gigabytes", "GB", year.bytes / 1e9),
        Row(f"{name}.flushes", "1", year.flushes),
        Row(f"{name}.card_years_best", "years", year.best_years, "32 GB card of 29 TB, writing what it is given"),
        Row(f"{name}.card_years_worst", "years", year.worst_years, "each flush costs it a 4 MiB unit"),
        *([Row(f"{name}.card_full", "years", year.full_years, "nothing deleted")] if year.full_years < 1e6 else []),
    ]


def _kept_bytes(folder: Path) -> int:
    files = [folder / "index.db", *(folder / MEDIA_FOLDER).rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def _disk(folder: Path, options: str = "noatime") -> Iterator[LoopDisk]:
    folder.mkdir(parents=True)
    with LoopDisk(folder, options) as disk:
        yield disk
