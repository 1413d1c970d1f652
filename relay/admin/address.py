"""Where the admin socket lies, and an address for it however deep the state folder is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_NAME = "admin.sock"


@contextmanager
def short_address(folder: Path) -> Iterator[str]:
    """Give an address of the socket in `folder` that fits the 107 bytes a Unix address may have."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)
