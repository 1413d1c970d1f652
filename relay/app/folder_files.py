"""The small files of a state folder that a backup takes along as they are: settings, certificates, whatever else."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from relay.app import failed_starts
from relay.base import trial
from relay.base.config import FILE_NAME as SETTINGS
from relay.base.config import OWNER_FILE_NAME, Config
from relay.base.errors import StorageError
from relay.base.limits import MAX_BACKUP_FILE_BYTES, MIB

_TLS = ("cert", "key", "ca")
# What a backup holds in another form, what belongs to this very box, and what only lives for a moment.
_NOT_TAKEN = frozenset(
    {
        "keyring",
        "keyring.before",
        "journal",
        "media",
        "admin.sock",
        "reset",
        "upgrading",
        "lost+found",
        "root.key",
        "console",
        "provisioning",
        OWNER_FILE_NAME,
        "guesses.json",
        failed_starts.FILE_NAME,
        trial.BEFORE,
        trial.NETWORK_BEFORE,
        trial.FILE_NAME,
    }
)
_PASSING = (".part", ".new", ".restoring", ".lost", ".sock")
_OWN = ("index.db", "backup.catalogue")


@dataclasses.dataclass(frozen=True, slots=True)
class FolderFile:
    """One file: its name below the state folder, its mode and what stands in it."""

    name: str
    mode: int
    content: bytes


def folder_files(folder: Path, config: Config) -> tuple[list[FolderFile], dict[str, str], list[str]]:
    """Return the files, the settings that must change to find them, and what was left out as too large.

    Certificates that lie outside of the folder are brought into it.

    Raises:
        StorageError: one cannot be read.
    """
    files: list[FolderFile] = []
    left_out: list[str] = []
    for path in sorted(_small(folder, folder, (folder / config.store.key_file).resolve())):
        if path.stat().st_size > MAX_BACKUP_FILE_BYTES:
            left_out.append(f"{path.relative_to(folder)}: larger than {MAX_BACKUP_FILE_BYTES // MIB} MiB")
        else:
            files.append(_read(path, str(path.relative_to(folder))))
    settings: dict[str, str] = {}
    for name in _TLS:
        given = getattr(config.tls, name)
        if given and not (folder / given).resolve().is_relative_to(folder.resolve()):
            settings[f"tls.{name}"] = f"tls/brought-{name}.pem"
            files.append(_read(folder / given, settings[f"tls.{name}"]))
    return files, settings, left_out


def _small(folder: Path, root: Path, key_file: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        name = path.name
        if folder == root and (name in _NOT_TAKEN or name.startswith(_OWN)):
            continue
        if path.is_symlink() or name.endswith(_PASSING) or path.resolve() == key_file:
            continue
        if path.is_dir():
            yield from _small(path, root, key_file)
        elif path.is_file():
            yield path


def _read(path: Path, name: str) -> FolderFile:
    try:
        return FolderFile(name, path.stat().st_mode & 0o777, path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path} cannot be read for the backup: {error.strerror}") from None


__all__ = ["SETTINGS", "FolderFile", "folder_files"]
