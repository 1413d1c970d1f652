"""What every part of the house stands on: keys, ledger, own signing key."""

import contextlib
import getpass
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from relay.base.clock import Clock, SystemClock
from relay.base.config import Config, StoreConfig
from relay.base.errors import ConfigError, KeyAbsentError
from relay.base.ids import ServerName
from relay.base.limits import MIB
from relay.core.matrix.signing import SigningKey
from relay.delivery.tables import TABLES as DELIVERY_TABLES
from relay.household.tables import TABLES as HOUSEHOLD_TABLES
from relay.rooms.matrix import signing_key
from relay.rooms.matrix.tables import TABLES as ROOM_TABLES
from relay.store import keyring
from relay.store.faults import KeyringLostError
from relay.store.files import OS_FILES, FileLayer
from relay.store.keyring import KeyFile, Keyring, KeySource, Passphrase
from relay.store.ledger import Ledger, open_ledger
from relay.store.media_files import MediaFiles
from relay.store.segments import SEGMENT_BYTES
from relay.store.workers import ThreadWorkers, Workers

TABLES = (ROOM_TABLES, HOUSEHOLD_TABLES, *DELIVERY_TABLES)
MEDIA_FOLDER = "media"
_CREDENTIAL = "doorstep.passphrase"
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """What the state folder is on, and who waits for it."""

    files: FileLayer = OS_FILES
    workers: Workers = field(default_factory=ThreadWorkers)
    segment_bytes: int = SEGMENT_BYTES

    def ledger(self, folder: Path, keys: Keyring, config: Config) -> AbstractAsyncContextManager[Ledger]:
        """Return the ledger of `folder`, to be opened and closed; see `open_ledger`."""
        return open_ledger(
            folder,
            keys,
            TABLES,
            config.store,
            files=self.files,
            workers=self.workers,
            segment_bytes=self.segment_bytes,
        )

    def media_files(self, folder: Path, config: Config) -> MediaFiles:
        """Return the files that people sent."""
        quota_bytes = config.store.media_quota_mib * MIB
        return MediaFiles(folder / MEDIA_FOLDER, quota_bytes=quota_bytes, files=self.files, workers=self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One open state folder."""

    folder: Path
    config: Config
    clock: Clock
    keyring: Keyring
    ledger: Ledger
    key: SigningKey
    flash: Flash

    @property
    def server(self) -> ServerName:
        """The name of the box."""
        return self.config.server.name


@asynccontextmanager
async def open_house(
    folder: Path,
    config: Config,
    flash: Flash | None = None,
    *,
    clock: Clock | None = None,
    keys: Keyring | None = None,
) -> AsyncIterator[House]:
    """Open the state folder, which is made if it is empty; on leaving, everything is on flash.

    Without `flash` it is the operating system's; the keyring always is. Without `clock` time is the kernel's, and
    without `keys` they are asked of their source.

    Raises:
        StateLockedError: another process holds it.
        WrongKeyError: it does not open with this key; nothing was changed.
        DamagedError: the journal or the index is not what was written.
    """
    clock = clock or SystemClock()
    keys = keys or unlock(folder, config.store)
    flash = flash or Flash()
    async with flash.ledger(folder, keys, config) as ledger:
        days = config.federation.signing_key_days
        # A box that takes nothing in signs with the key it has.
        max_age_ms = days * _DAY_MS if days and ledger.healthy else None
        key = await signing_key.own_key(ledger, clock.wall_ms(), max_age_ms=max_age_ms)
        yield House(folder=folder, config=config, clock=clock, keyring=keys, ledger=ledger, key=key, flash=flash)


def key_source(folder: Path, config: StoreConfig, *, new: bool, phrase: str | None = None) -> KeySource:
    """Return where the root key of `folder` comes from; for a new one a key file that is missing is made.

    Args:
        folder: the state folder.
        config: names the source.
        new: whether the source has to be made.
        phrase: the passphrase, where somebody gave it; else it is looked for.

    Raises:
        KeyAbsentError: there is nobody to ask for the passphrase.
    """
    match config.key_source:
        case "passphrase":
            return Passphrase(_passphrase(new=new) if phrase is None else phrase.encode())
        case "otp":
            from relay.box.otp import Fuses
            from relay.store.board_keys import FusedKey

            return FusedKey(Fuses())
        case "tpm":
            from relay.box.tpm import Tpm
            from relay.store.board_keys import VaultKey

            return VaultKey(Tpm(Path(config.tpm_device), config.pcrs()))
    path = folder / config.key_file
    source = KeyFile(path, awaited=not path.resolve().is_relative_to(folder.resolve()))
    if new and not source.path.exists():
        source.create()
    return source


def unlock(folder: Path, config: StoreConfig, phrase: str | None = None) -> Keyring:
    """Return the keys of the state folder, made if it is empty.

    Raises:
        KeyringLostError: what the keys are for is there, and they are not.
        KeyAbsentError: the key is not there yet.
        WrongKeyError: another key is; nothing was changed.
    """
    new = not (folder / keyring.FILE_NAME).exists()
    if new and any((folder / name).exists() for name in ("index.db", "journal")):
        raise KeyringLostError(f"{folder / keyring.FILE_NAME} is gone: what is sealed here cannot be opened")
    source = key_source(folder, config, new=new, phrase=phrase)
    if new:
        return keyring.create_keyring(folder, source)
    keys = keyring.open_keyring(folder, source)
    with contextlib.suppress(OSError):
        # A file system that takes no writes keeps the keyring of before for now; the same key opens it.
        keyring.settle_keyring(folder, source)
    return keys


def move_key(folder: Path, before: StoreConfig, after: StoreConfig, phrases: tuple[str | None, str | None]) -> None:
    """Have the keys of the state folder wrapped by the source that `after` names.

    The source in `before` opens them, too, until the next `unlock` by either: in between, settings are written.

    Args:
        folder: the state folder.
        before: where the key is.
        after: where it goes.
        phrases: the passphrase of each, where there is one and somebody gave it.

    Raises:
        RelayError: the old source does not give its key, or the new one does not work; nothing was changed.
    """
    keys = unlock(folder, before, phrases[0])
    keyring.rewrap_keyring(folder, keys, key_source(folder, after, new=True, phrase=phrases[1]))


def _passphrase(*, new: bool) -> bytes:
    """Return the passphrase from the service's credentials or the terminal: never from arguments or environment."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if credentials and (file := Path(credentials) / _CREDENTIAL).exists():
        return file.read_bytes().rstrip(b"\r\n")
    if not sys.stdin.isatty():
        raise KeyAbsentError(
            f"nobody gave the passphrase: a terminal asks for it, or the credential {_CREDENTIAL} holds it"
        )
    phrase = getpass.getpass("passphrase of the box: ")
    if new and phrase != getpass.getpass("once more: "):
        raise ConfigError("the two passphrases differ")
    return phrase.encode()
