"""What a new box gets where nobody decided: on an appliance its board tells, anywhere else it stays on this desk."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.base.config import ClientConfig, FederationConfig, LimitsConfig, StoreConfig
from relay.base.limits import MIB
from relay.box.board import DESK, own_profile

APPLIANCE = Path("/var/lib/doorstep")
"""Where the package keeps the state; its units pass the doors in, so that ports below 1024 need no privilege."""
_OUTSIDE = "[::]:443"
# Parts of the file system that messages and files may take; half of it stays for the system, backups and updates.
_INDEX_PART = 4
_FILES_PART = 8
_LEAST_MIB = 128


@dataclass(frozen=True, slots=True)
class Usual:
    """What `provision` takes for everything that nobody named.

    Attributes:
        profile: the board.
        federation: HOST:PORT of the door for other servers.
        client: HOST:PORT of the door for apps.
        settings: the rest, by dotted name.
    """

    profile: str
    federation: str
    client: str
    settings: Mapping[str, str]


def usual(folder: Path, profile: str = "", root: Path = Path("/")) -> Usual:
    """Return what is usual for a box in `folder`, on the board `profile` or, where that is empty, on this one.

    Raises:
        ConfigError: there is no such profile, or none for this kind of machine.
    """
    profile = profile or usual_profile(folder, root)
    if profile == DESK:
        settings = {"federation.allow_private_peers": "true"}
        return Usual(profile, FederationConfig().listen, ClientConfig().listen, settings)
    return Usual(profile, FederationConfig().listen, _OUTSIDE, {"uplink.announce": "true", **_sized(_size_mib(folder))})


def usual_profile(folder: Path, root: Path = Path("/")) -> str:
    """Return the profile of a box in `folder`: the board's own in the package's folder, the desk anywhere else.

    Raises:
        ConfigError: there is no profile for this kind of machine.
    """
    return own_profile(folder, root)[0] if is_appliance(folder) else DESK


def is_appliance(folder: Path) -> bool:
    """Return whether `folder` is the package's."""
    return folder.absolute() == APPLIANCE


def _sized(total_mib: int) -> dict[str, str]:
    """Return limits that fit a card of this size; none where it carries the usual ones."""
    limits, store = LimitsConfig(), StoreConfig()
    files_mib = max(total_mib // _FILES_PART, _LEAST_MIB)
    parts = {
        "limits.index_mib": (limits.index_mib, max(total_mib // _INDEX_PART, _LEAST_MIB)),
        "store.media_quota_mib": (store.media_quota_mib, files_mib),
        "limits.user_media_mib": (limits.user_media_mib, files_mib // 2),
    }
    return {name: str(fits) for name, (most, fits) in parts.items() if fits < most}


def _size_mib(folder: Path) -> int:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).total // MIB
