"""Which files events speak of, as far as that can be read: encrypted events say nothing."""

import re

from relay.rooms.matrix.storage.packing import unpack_bytes
from relay.store.ledger import Index

AT_A_TIME = 250
"""Events read in one step."""


def pattern(server: str) -> re.Pattern[bytes]:
    """Return what finds the media ids of a server's `mxc://` addresses in JSON."""
    return re.compile(rb"mxc://" + re.escape(server.encode()) + rb"/([A-Za-z0-9_-]+)")


def mentioned(index: Index, wanted: re.Pattern[bytes], after: int) -> tuple[int, set[str]] | None:
    """Return (the last event read, the media ids in `AT_A_TIME` events after row `after`), None after the last."""
    rows = index.rows("SELECT number, pdu FROM events WHERE number > ? ORDER BY number LIMIT ?", after, AT_A_TIME)
    if not rows:
        return None
    return rows[-1][0], {found.decode() for _, pdu in rows for found in wanted.findall(unpack_bytes(pdu[1:]))}
