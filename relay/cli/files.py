"""Files of the state folder: whole or absent after a power cut, and its owner's whoever makes them."""

import os
import pwd
from pathlib import Path

from relay.base.config import FILE_NAME
from relay.base.errors import ConfigError

_MOST_SECRET_BYTES = 4096


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` at `path` so that a power cut leaves the old file or the new one, never a part."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync_folder(path.parent)


def read_secret(folder: Path, setting: str, name: str) -> str:
    """Return what stands in the small file that `setting` names, relative to the state folder.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with (folder / name).open(encoding="utf-8") as file:
            return file.read(_MOST_SECRET_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} {name} cannot be read: {error}") from None


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a rename or removal lives in the folder, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def act_as_owner(folder: Path) -> None:
    """Let root become the owner of `folder` for good: what root left in there, the service could not open."""
    if os.geteuid() != 0 or not folder.is_dir():
        return
    owner = folder.stat()
    if owner.st_uid == 0:
        return
    # Of root's groups none, and the owner's own: by one of them it may reach the key that the board holds.
    os.setgroups(_groups(owner.st_uid, owner.st_gid))
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


def _groups(user: int, group: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        return []


def provisioned(folder: Path) -> bool:
    """Return whether `folder` is a box."""
    return (folder / FILE_NAME).exists()
