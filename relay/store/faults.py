"""What can be wrong with a state folder, each fault with a name of its own and the place where it was found."""

import dataclasses
import errno

import apsw

from relay.base.errors import DamagedError, StorageError


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of one journal segment, from `start` up to, not including, `end`."""

    slot: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"segment {self.slot} from byte {self.start} to byte {self.end}"


class StaleIndexError(DamagedError):
    """The index is older than the oldest commit the journal still keeps: it was replaced or restored from elsewhere."""

    code = "storage.index_stale"


class IndexLostError(DamagedError):
    """The index file is gone or is no index any more, and the journal does not reach back to the first commit."""

    code = "storage.index_lost"


class IndexMixedError(DamagedError):
    """The database was being copied into and the log that completes it is gone: it may be of two moments."""

    code = "storage.index_mixed"


class JournalHoleError(DamagedError):
    """Commits that were once durable cannot be read.

    Attributes:
        first: the first commit that is missing.
        last: the last one that is known to be missing.
        stretches: where on flash they must have been.
    """

    code = "storage.journal_hole"

    def __init__(self, first: int, last: int, stretches: tuple[Stretch, ...]) -> None:
        places = "; ".join(map(str, stretches)) or "no segment holds them"
        super().__init__(f"{commits(first, last)} of the journal cannot be read: {places}")
        self.first, self.last, self.stretches = first, last, stretches


class RootsLostError(DamagedError):
    """Neither root page opens: the keys of the journal's segments are gone."""

    code = "storage.roots_lost"


class OldRootError(DamagedError):
    """The journal has frames that the newest readable root page does not know of: both pages are from earlier."""

    code = "storage.root_old"


class SegmentLostError(DamagedError):
    """A segment file that holds commits is missing or cut short."""

    code = "storage.segment_lost"


class KeyringLostError(DamagedError):
    """The keyring is gone, and with it the keys of everything in the folder."""

    code = "storage.keyring_lost"


class NoRoomError(StorageError):
    """The file system is full: nothing is taken in until there is room again, without a restart."""

    code = "storage.no_room"


def commits(first: int, last: int) -> str:
    """Return `commit 7` or `commits 7 to 9`."""
    return f"commit {first}" if first == last else f"commits {first} to {last}"


def is_no_room(error: BaseException | None) -> bool:
    """Return whether `error`, or what it came from, is that of a full file system."""
    while error is not None:
        if isinstance(error, apsw.FullError | NoRoomError):
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
            # SQLite could not lengthen the memory it shares between connections, a file beside the index.
            return True
        error = error.__cause__
    return False


def storage_error(what: str, error: BaseException | None) -> StorageError:
    """Return the error that `error` stops intake with: one that may pass by itself if it is for want of room."""
    if is_no_room(error):
        return NoRoomError("the file system of the state folder is full: nothing is taken in until there is room")
    return StorageError(what)
