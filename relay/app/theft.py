"""What somebody who steals the card, or the whole box, can read: in plain words, for each place the key can be in."""

import enum
from dataclasses import dataclass
from pathlib import Path

from relay.base.config import StoreConfig
from relay.box.disks import disks_under

NOTHING_PROTECTED = "none: desk profile"
_SEALED = (
    "no message, no person and no room: it is all sealed; the settings, the certificate and its key are not: "
    "after a theft get a new certificate"
)
_ALL = "everything"


class Place(enum.Enum):
    """Where a key file lies, seen from the state folder that it opens."""

    FOLDER = "in the folder"
    CARD = "on the same card"
    ELSEWHERE = "on something else that is plugged in"
    OUT = "not here now"


@dataclass(frozen=True, slots=True)
class Theft:
    """What a theft reveals.

    Attributes:
        protection: `none: desk profile`, `card theft` or `box theft`: up to which theft nothing is lost.
        card: what a thief of the card alone reads.
        box: what a thief of the whole box reads, as it stands there now.
    """

    protection: str
    card: str
    box: str


def place_of(folder: Path, config: StoreConfig, root: Path = Path("/")) -> Place:
    """Return where the key file lies now."""
    file = (folder / config.key_file).resolve()
    if file.is_relative_to(folder.resolve()):
        return Place.FOLDER
    try:
        same = file.stat().st_dev == folder.stat().st_dev
    except OSError:
        return Place.OUT
    return Place.CARD if same or disks_under(file, root) & disks_under(folder, root) else Place.ELSEWHERE


def theft(folder: Path, config: StoreConfig, root: Path = Path("/")) -> Theft:
    """Return what a theft reveals of a box with these settings."""
    if config.key_source == "file":
        return _OF_A_FILE[place_of(folder, config, root)]
    if config.key_source == "tpm" and (pcrs := config.pcrs()):
        system = "what the system that is on it tells a stranger: another system gets no key"
        wires = "Who can reset a TPM chip by its wires, and tell it that this was started, learns the key"
        return Theft("card theft", _SEALED, f"{system} (TPM registers {', '.join(map(str, pcrs))}). {wires}")
    return _OF_OTHERS[config.key_source]


_UNGUESSED = f"{_SEALED}, unless the passphrase is guessed, at 64 MiB and argon2id a guess"
_OF_A_FILE = {
    Place.FOLDER: Theft(NOTHING_PROTECTED, f"{_ALL}: the key lies beside what it seals", _ALL),
    Place.CARD: Theft(NOTHING_PROTECTED, f"{_ALL}: the key file lies on the same card", _ALL),
    Place.ELSEWHERE: Theft(
        "card theft",
        _SEALED,
        f"{_ALL}, as what the key file lies on is plugged in; it may be pulled out after the start",
    ),
    Place.OUT: Theft(
        "box theft",
        _SEALED,
        f"{_SEALED}, as long as what the key file lies on is kept elsewhere; only a start needs it",
    ),
}
_OF_OTHERS = {
    "passphrase": Theft("box theft", _UNGUESSED, f"once it is off: {_UNGUESSED}"),
    "otp": Theft(
        "card theft",
        _SEALED,
        f"{_ALL}: the fuses tell the key to any system that is started on the board, unless secure boot is locked",
    ),
    "tpm": Theft("card theft", _SEALED, f"{_ALL}: the TPM gives the key to any system that is started on the box"),
}
