"""What helps somebody far away to help: one readable text about the box, without names, secrets and content.

It is gathered piece by piece; what cannot be looked at says so and the rest goes on: the box may be stopped, its index
damaged, its settings unreadable, its key elsewhere. Everything passes `relay.cli.redaction`; the files that hold
secrets are read only to know what must not be shown.
"""

import dataclasses
import datetime
import os
import platform
import re
import shutil
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from relay.app.version import VERSION
from relay.base import trial
from relay.base.config import FILE_NAME, Config, ServerConfig, load
from relay.base.errors import ConfigError, RelayError
from relay.base.ids import ServerName
from relay.base.limits import MAX_DIAGNOSTICS_BYTES, MAX_DIAGNOSTICS_LINE_CHARACTERS, MAX_DIAGNOSTICS_LOG_LINES
from relay.base.typed_toml import read_toml
from relay.cli.redaction import HIDDEN, Redactor, is_everybodys
from relay.cli.usual import is_appliance

Operate = Callable[[dict[str, Any]], dict[str, Any]]
"""Carries out a request to the box, running or not."""

_DRAFT = Path("console") / "draft.json"
_MOST_FILE_BYTES = 64 * 1024
_SHOWN_SETTINGS = frozenset(
    {
        *("server.profile", "store.key_source", "store.tpm_device", "store.tpm_pcrs", "log.level", "dns.method"),
        *("acme.challenge", "acme.profile", "uplink.map_ports"),
    }
)
"""Settings whose texts are chosen from few, so that they name nobody."""
_LISTEN = ("federation.listen", "client.listen")
_KINDS = {
    "server.name": "server",
    "acme.contact": "mail",
    "dns.user": "user",
    "dns.name": "host",
    "acme.names": "host",
    "uplink.host": "host",
    "client.public_url": "url",
    "standby.target": "url",
}
_SECRET_FILES = ("acme.eab_key_file", "dns.key_file", "standby.credentials_file")
_NOT_IN_IT = (
    "Not in it: messages, files, rooms, contacts, passwords, keys, tokens, addresses, names of people, servers, hosts",
    "and networks. Of the console: commands without what they name, errors, how much was said.",
    "Read it before you send it.",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What is outside of the state folder; a test brings its own.

    Attributes:
        units: one line a unit of the supervisor.
        log: (when and which unit, message) of the last lines of the log.
        now: when the text is made.
        host: the machine's own name.
    """

    units: Sequence[str]
    log: Sequence[tuple[str, str]]
    now: datetime.datetime
    host: str


def look_around() -> Surroundings:
    """Return the surroundings of this machine."""
    from relay.cli.machine_log import log_lines, unit_states

    return Surroundings(unit_states(), log_lines(), datetime.datetime.now(datetime.UTC), socket.gethostname())


def diagnose(folder: Path, operate: Operate, around: Surroundings, transcript: Iterable[str] = ()) -> str:
    """Return the text, at most MAX_DIAGNOSTICS_BYTES of printable ASCII; it raises nothing."""
    redactor = Redactor()
    redactor.learn("host", around.host)
    if not is_appliance(folder):
        # Wherever else somebody keeps it may be called after them.
        redactor.name("folder", str(folder))
    # In this order the names in one section are known to the next.
    sections = {
        "settings": _guarded(lambda: _settings(folder, redactor)),
        "people": _guarded(lambda: _people(operate, redactor)),
        "status": _guarded(lambda: _status(operate, redactor)),
        "machine": _guarded(lambda: _machine(folder, redactor)),
        "doctor": _guarded(lambda: _findings(operate, redactor)),
        "flash": _guarded(lambda: _flash(folder)),
        "units": [redactor.text(line) for line in around.units] or ["none that systemd knows of"],
        "log": _log(around.log, redactor),
        "console": [redactor.text(line) for line in transcript] or ["nothing yet"],
    }
    head = _head(around.now, list(sections), redactor)
    return _bounded([*head, *_titled(sections)])


def _guarded(look: Callable[[], list[str]]) -> list[str]:
    try:
        return look() or ["nothing"]
    except RelayError as error:
        return [f"could not be looked at: {error.code}"]
    except Exception as error:  # noqa: BLE001 - whatever is broken, the rest of the text is worth having
        return [f"could not be looked at: {type(error).__name__}"]


def _head(now: datetime.datetime, sections: Sequence[str], redactor: Redactor) -> list[str]:
    replaced = ", ".join(f"{count} {kind}" for kind, count in redactor.counts().items()) or "none"
    return [
        f"Doorstep {VERSION}: diagnostics, made {now:%Y-%m-%d %H:%M:%S} UTC",
        f"In it: {', '.join(sections)}.",
        *_NOT_IN_IT,
        f"Names became tags, <server-1> the same one wherever it stands: {replaced}.",
    ]


def _titled(sections: dict[str, list[str]]) -> list[str]:
    return [line for title, lines in sections.items() for line in ("", f"== {title} ==", *lines)]


def _bounded(lines: list[str]) -> str:
    shown, left_bytes = [], MAX_DIAGNOSTICS_BYTES - 100
    for number, line in enumerate(lines):
        cut = (
            line
            if len(line) <= MAX_DIAGNOSTICS_LINE_CHARACTERS
            else f"{line[: MAX_DIAGNOSTICS_LINE_CHARACTERS - 3]}..."
        )
        left_bytes -= len(cut) + 1
        if left_bytes < 0:
            shown.append(f"== cut off: {len(lines) - number} more lines ==")
            break
        shown.append(cut)
    else:
        shown += ["", "== end =="]
    return "\n".join(shown) + "\n"


def _settings(folder: Path, redactor: Redactor) -> list[str]:
    for name in (trial.BEFORE, FILE_NAME, str(_DRAFT)):
        _learn_texts(folder / name, redactor)
    if not (folder / FILE_NAME).exists():
        return ["the box has not been set up"]
    try:
        config = load(folder)
    except ConfigError as error:
        return [f"{error.code}: {redactor.text(str(error))}", *_raw_settings(folder, redactor)]
    _learn_secrets(folder, config, redactor)
    usual = set(_rows(dataclasses.asdict(Config(server=ServerConfig(name=ServerName(""), profile="")))))
    rows = _rows(dataclasses.asdict(config))
    other = [
        _setting(f"{section}.{name}", value, redactor)
        for section, name, value in rows
        if (section, name, value) not in usual
    ]
    return [*other, f"{len(rows) - len(other)} more are as they usually are"]


def _raw_settings(folder: Path, redactor: Redactor) -> list[str]:
    try:
        tables = read_toml(folder / FILE_NAME)
    except ConfigError:
        return []
    return [_setting(f"{section}.{name}", value, redactor) for section, name, value in _rows(tables)]


def _rows(tables: dict[str, Any]) -> list[tuple[str, str, object]]:
    return [
        (section, name, value)
        for section, table in tables.items()
        for name, value in (table if isinstance(table, dict) else {"": table}).items()
    ]


def _setting(key: str, value: object, redactor: Redactor) -> str:
    if isinstance(value, str) and key not in _SHOWN_SETTINGS:
        shown = _listening(value, redactor) if key in _LISTEN else redactor.name(_KINDS.get(key, "setting"), value)
        return f"{_key(key)} = {shown}"
    return f"{_key(key)} = {str(value).lower() if isinstance(value, bool) else redactor.text(str(value))}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[a-z0-9_]{1,40}\.[a-z0-9_]{0,40}", key) else HIDDEN


def _listening(value: str, redactor: Redactor) -> str:
    host, _, port = value.rpartition(":")
    return value if is_everybodys(host) else f"{redactor.name('host', host)}:{port if port.isdigit() else '?'}"


def _learn_texts(path: Path, redactor: Redactor) -> None:
    """Learn every text in a file of settings, whether or not the file is what it should be."""
    section = ""
    for line in _content(path).replace(", ", ",\n").splitlines():
        if header := re.fullmatch(r"\s*\[(\w+)\]\s*", line):
            section = header[1]
        elif found := re.match(r"[\s{]*\"?([\w.]+)\"?\s*[=:]\s*\"([^\"]*)\"", line):
            key = found[1] if "." in found[1] else f"{section}.{found[1]}"
            if key not in _SHOWN_SETTINGS and key not in _LISTEN:
                redactor.learn(_KINDS.get(key, "setting"), found[2])


def _learn_secrets(folder: Path, config: Config, redactor: Redactor) -> None:
    """Know what stands in the files with secrets, so that it is replaced should it turn up anywhere."""
    for key in _SECRET_FILES:
        section, _, name = key.partition(".")
        path = getattr(getattr(config, section), name)
        for word in re.findall(r"[^\s\"';={}:]{6,}", _content(folder / path) if path else ""):
            redactor.name("secret", word)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _people(operate: Operate, redactor: Redactor) -> list[str]:
    if not operate({"verb": "status"})["running"]:
        # Opening the house writes, and nothing that names anybody comes out of a closed one.
        return ["not counted: the box does not run"]
    people = operate({"verb": "user_list"})["users"]
    for person in people:
        redactor.learn("user", str(person["user"]))
        redactor.learn("user", str(person["user"]).removeprefix("@").partition(":")[0])
    active, admins = (sum(bool(person[name]) for person in people) for name in ("active", "admin"))
    return [f"{len(people)} accounts, {active} active, {admins} admin"]


def _status(operate: Operate, redactor: Redactor) -> list[str]:
    found = redactor.value("status", operate({"verb": "status"}))
    return _lines(found) if isinstance(found, dict) else []


def _lines(table: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for name, value in table.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_lines(value, f"{indent}  ")]
        elif isinstance(value, list):
            lines += [f"{indent}{name}: {len(value)}", *(f"{indent}  {_flat(row)}" for row in value[:20])]
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines


def _flat(row: object) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items()) if isinstance(row, dict) else str(row)


def _findings(operate: Operate, redactor: Redactor) -> list[str]:
    found = operate({"verb": "doctor"})["findings"]
    return [
        line
        for finding in found
        for line in (
            f"{finding['level']}: {redactor.text(finding['what'])}",
            f"  next: {redactor.text(finding['next_step'])}",
        )
    ]


def _machine(folder: Path, redactor: Redactor) -> list[str]:
    from relay.cli.board import describe, render

    uname = platform.uname()
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    lines = [f"release: {VERSION}", f"system: {system}, {uname.system} {uname.release} {uname.machine}"]
    lines.append(f"python: {platform.python_version()}")
    return lines + [redactor.text(line) for line in render(describe(folder if folder.is_dir() else None))]


def _flash(folder: Path) -> list[str]:
    from relay.box.mounts import MOUNTS, mount_of
    from relay.store.files import OS_FILES
    from relay.store.survey import survey_roots, survey_segments

    if not folder.is_dir():
        return ["there is no state folder"]
    usage = shutil.disk_usage(folder)
    mount = mount_of(folder.resolve(), MOUNTS.read_text("utf-8", "replace"))
    kind = (
        "" if mount is None else f", {mount.kind} ({','.join(option for option in mount.options if '=' not in option)})"
    )
    read_only = ", takes no writes" if os.statvfs(folder).f_flag & os.ST_RDONLY else ""
    lines = [f"file system: {usage.free} of {usage.total} bytes free{kind}{read_only}"]
    for name in ("keyring", "root.key", "owner.json", "relay.toml", "index.db", "index.db-wal"):
        path = folder / name
        lines.append(f"{name}: {path.stat().st_size} bytes" if path.exists() else f"{name}: not here")
    files = [path.stat().st_size for path in (folder / "media").rglob("*") if path.is_file()]
    lines.append(f"media: {len(files)} files, {sum(files)} bytes")
    lines += [f"{name}: {said}" for name, said in survey_roots(OS_FILES, folder / "journal").items()]
    for segment in survey_segments(OS_FILES, folder / "journal"):
        broken = f", {segment.unreadable} blocks cannot be read" if segment.unreadable else ""
        used = f"use {segment.use}, commits {segment.first} to {segment.last}" if segment.use else "never used"
        lines.append(f"{segment.name}: {segment.size_bytes} bytes, {segment.frames} frames, {used}{broken}")
    return lines


def _log(lines: Sequence[tuple[str, str]], redactor: Redactor) -> list[str]:
    if not lines:
        return ["no journal here: look at what the relay wrote to standard error"]
    return [
        f"{redactor.text(where)}: {redactor.log_line(piece)}"
        for where, message in lines[-MAX_DIAGNOSTICS_LOG_LINES:]
        for piece in message.splitlines()[-20:]
    ]
