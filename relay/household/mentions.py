"""Which files people's profiles and account data speak of."""

import re

from relay.store.ledger import Index


def mentioned(index: Index, wanted: re.Pattern[bytes]) -> set[str]:
    """Return what `wanted` finds in all of them."""
    found: set[str] = set()
    for sql in ("SELECT value FROM profiles", "SELECT content FROM account_data"):
        for (stored,) in index.rows(sql):
            found.update(name.decode() for name in wanted.findall(stored))
    return found
