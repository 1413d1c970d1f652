"""What is wrong with a box, as far as its files and its machine tell."""

import datetime
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from relay.admin.advice import next_step
from relay.admin.operations import Finding
from relay.base.clock import is_set
from relay.base.config import Config, load
from relay.base.errors import ConfigError, RelayError
from relay.base.limits import MIB
from relay.base.trial import Uptime, pending
from relay.cli import reset
from relay.cli.board_health import find_on_the_board
from relay.cli.certificate_findings import find_about_the_certificate
from relay.cli.files import provisioned
from relay.store.catalogue import FILE_NAME as CATALOGUE
from relay.store.files import OS_FILES
from relay.store.root_page import page_format
from relay.store.segments import read_pages
from relay.store.tables import STATE_FORMAT
from relay.store.upgrade import MARK

# As in relay.delivery.bounds.levels, which this process does not load.
_EARLY_WARNING = 3
_BACKUP_DAYS = 30
_DAY_S = 24 * 3600


def find_without_box(folder: Path) -> list[Finding]:
    """Return why no box answers."""
    if not folder.is_dir():
        return [Finding("fault", f"{folder} does not exist", "set the box up: relay provision, or relay console")]
    if (folder / reset.MARKER).exists():
        return [Finding("fault", "a factory reset was interrupted", "start the box: it completes the reset")]
    if not provisioned(folder):
        return [Finding("fault", "the box has not been set up", "set it up: relay provision, or relay console")]
    if finding := _look_at_the_format(folder):
        return [finding]
    if reset.is_locked(folder):
        return [_look_at_the_holder(folder)]
    return [*_look_at_the_state(folder), Finding("warning", "the box is not running", "start it: relay up")]


def _look_at_the_holder(folder: Path) -> Finding:
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        what = "the box cannot be asked, as its folder takes no writes; it may well serve what it can read"
        return Finding("fault", what, next_step("storage.failed"))
    return Finding("fault", "a process holds the state folder but does not answer", "end it, start the box again")


def _look_at_the_state(folder: Path) -> Iterator[Finding]:
    from relay.cli.house import look_at_house

    try:
        config = load(folder)
    except ConfigError:
        # Without settings there is nothing to look at; that is found elsewhere.
        return
    source, fault = config.store.key_source, None
    try:
        # A passphrase is asked for by a start, not by a doctor.
        fault = look_at_house(folder, config) if source != "passphrase" else None
    except RelayError as error:
        # A key file that is missing is found elsewhere.
        fault = None if source == "file" and isinstance(error, ConfigError) else error
    if fault is not None:
        yield Finding("fault", str(fault), next_step(fault.code))


def folder_format(folder: Path) -> int:
    """Return the format of a state folder as its root pages say without any key, 0 where there is none."""
    formats = [found for page in read_pages(OS_FILES, folder / "journal") if (found := page_format(page))]
    # A page of a known format is read, whatever the other one claims to be.
    return min(formats, default=0)


def _look_at_the_format(folder: Path) -> Finding | None:
    found = folder_format(folder)
    if found > STATE_FORMAT:
        what = f"a newer release made the state folder: format {found}, this release knows {STATE_FORMAT}"
        return Finding("fault", what, "install that release or a later one, nothing was changed")
    mark = folder / MARK
    if reset.is_locked(folder) and mark.exists():
        what = f"the box brings what it stores to the form of this release: step {mark.read_text('ascii', 'replace')}"
        return Finding("note", what, "leave it alone: this happens once, and a power cut does it no harm")
    return None


def find_in_files(folder: Path) -> list[Finding]:
    """Return what is wrong with settings, key, certificate, space and clock."""
    if not provisioned(folder):
        return []
    try:
        config = load(folder)
    except RelayError as error:
        step = "say rollback at the console: the settings before come back; or correct relay.toml in the state folder"
        return [Finding("fault", str(error), step)]
    return [finding for look in _LOOKS for finding in look(folder, config)]


def _look_at_the_trial(folder: Path, _config: Config) -> Iterator[Finding]:
    found = pending(folder)
    if found is not None:
        what = f"a change is on trial and goes back by itself in {found.left_s(Uptime.now()):.0f} s"
        yield Finding("note", what, "say commit at the console to keep it, or rollback")


def _look_at_the_key(folder: Path, config: Config) -> Iterator[Finding]:
    if config.store.key_source != "file":
        return
    path = folder / config.store.key_file
    if path.is_file():
        return
    if path.resolve().is_relative_to(folder.resolve()):
        yield Finding("fault", "the key file is missing", f"bring {path} back; nothing can be read without it")
    else:
        yield Finding("note", f"the key file {path} is not here", "keep it safe elsewhere: only a start waits for it")


def _look_at_the_certificate(folder: Path, config: Config) -> Iterator[Finding]:
    yield from find_about_the_certificate(folder, config, datetime.datetime.now(datetime.UTC))


def _look_at_the_space(folder: Path, config: Config) -> Iterator[Finding]:
    free_mib, kept_mib = shutil.disk_usage(folder).free // MIB, config.limits.free_mib
    if free_mib <= kept_mib:
        what = f"{free_mib} MiB are free: nothing new is taken in below {kept_mib} MiB (limits.free_mib)"
        yield Finding("fault", what, "remove what else is on the card, or use a larger one")
    elif free_mib <= _EARLY_WARNING * kept_mib:
        what = f"only {free_mib} MiB are free: below {kept_mib} MiB nothing new is taken in"
        yield Finding("warning", what, "remove what else is on the card, or use a larger one")


def _look_at_the_mount(folder: Path, _config: Config) -> Iterator[Finding]:
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        yield Finding(
            "fault",
            "the file system of the state folder takes no writes",
            "look at the kernel log for the cause; copy the folder to another card and start the box there",
        )


def _look_at_the_clock(_folder: Path, _config: Config) -> Iterator[Finding]:
    if not is_set(datetime.datetime.now(datetime.UTC).timestamp()):
        yield Finding(
            "fault",
            "the clock was never set: other servers, certificates and the copy elsewhere wait, and nothing expires",
            "set it at the console: time set, with the time in UTC; or let the box reach a time server",
        )


def _look_at_the_backups(folder: Path, _config: Config) -> Iterator[Finding]:
    path = folder / CATALOGUE
    step = "make one and keep it elsewhere: relay backup create"
    if not path.exists():
        yield Finding("note", "no backup of this box was kept yet", step)
        return
    days = int((datetime.datetime.now(datetime.UTC).timestamp() - path.stat().st_mtime) / _DAY_S)
    if days > _BACKUP_DAYS:
        yield Finding("warning", f"the last backup is {days} days old", step)


def _look_at_the_board(folder: Path, _config: Config) -> Iterator[Finding]:
    yield from find_on_the_board(folder)


_LOOKS: tuple[Callable[[Path, Config], Iterator[Finding]], ...] = (
    _look_at_the_trial,
    _look_at_the_key,
    _look_at_the_certificate,
    _look_at_the_space,
    _look_at_the_mount,
    _look_at_the_clock,
    _look_at_the_backups,
    _look_at_the_board,
)
