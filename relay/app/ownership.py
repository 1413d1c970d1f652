"""Keeps the file by which the cable's console knows the owner in step with the accounts."""

from pathlib import Path
from typing import Never

import trio

from relay.app.house import House
from relay.base import log
from relay.base.config import OWNER_FILE_NAME
from relay.base.errors import RelayError
from relay.household import accounts, ownership
from relay.store.keyring import write_whole


async def note_owners(house: House) -> None:
    """Write down who looks after the box, unless that stands there already."""
    path, key = house.folder / OWNER_FILE_NAME, house.keyring.index_key
    try:
        hashes = await house.ledger.read(accounts.admin_hashes)
        if await trio.to_thread.run_sync(_noted, path, key) != hashes:
            await trio.to_thread.run_sync(write_whole, path, ownership.seal(key, hashes))
    except (OSError, RelayError) as error:
        # Flash that takes no writes or cannot be read: the console goes by what was noted last.
        log.get_logger().warning("app.owners_not_noted", kind=type(error).__name__)


async def keep_owners_noted(house: House) -> Never:
    """Note the owners now, and again whenever an account or a password of theirs changed."""
    with house.ledger.watch(accounts.ADMINS) as watch:
        while True:
            await note_owners(house)
            await watch.wait()


def _noted(path: Path, key: bytes) -> list[str] | None:
    try:
        return ownership.unseal(key, path.read_bytes())
    except (OSError, RelayError):
        return None
