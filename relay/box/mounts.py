"""How a folder's file system is mounted, as far as flash is concerned (proc_pid_mounts(5), ext4(5))."""

import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
_DEFAULT_COMMIT_S = 5
_JOURNALLED = ("ext3", "ext4")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system: where, of which kind, with which options."""

    place: Path
    kind: str
    options: tuple[str, ...]

    @property
    def commit_s(self) -> int | None:
        """How long after a change the file system writes its own journal; None where that is not known.

        Every write to a file is such a change, as it moves the file's time: it costs three blocks and two flushes.
        """
        if self.kind not in _JOURNALLED:
            return None
        named = [option.removeprefix("commit=") for option in self.options if option.startswith("commit=")]
        return int(named[-1]) if named and named[-1].isascii() and named[-1].isdigit() else _DEFAULT_COMMIT_S


def mount_of(folder: Path, mounts: str) -> Mount | None:
    """Return the file system that `folder`, an absolute path, is on; `mounts` is what the kernel says of all."""
    found = None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 4:
            continue
        place = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        # A later line hides an earlier one at the same place.
        if folder.is_relative_to(place) and (found is None or len(place.parts) >= len(found.place.parts)):
            found = Mount(place, fields[2], tuple(fields[3].split(",")))
    return found
