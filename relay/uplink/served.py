"""The certificate files that the listeners show, exchanged while they serve when somebody changed them."""

import os
from collections.abc import Callable
from pathlib import Path

import trio

from relay.base.errors import ConfigError
from relay.base.log import get_logger
from relay.transport.tls import Identity, server_context

log = get_logger()

_LOOK_S = 30.0

Files = tuple[Path, Path]
"""The chain and the key; twice the same where one file holds both."""


class ServedFiles:
    """What is shown, and what of it could not be used.

    Args:
        choose: which files are to be shown now.

    Raises:
        ConfigError: they cannot be used.

    Attributes:
        identity: for the listeners.
        fault: why the files that are there now are not shown; empty while they are.
    """

    def __init__(self, choose: Callable[[], Files]) -> None:
        self._choose = choose
        files = choose()
        # Read before the files are: what changes in between is found at the next look.
        self._mark = _mark(files)
        self.identity = Identity(server_context(*files))
        self.fault = ""

    async def watch(self) -> None:
        """Look again, until cancelled."""
        while True:
            await trio.sleep(_LOOK_S)
            self.look_again()

    def look_again(self) -> bool:
        """Show the files as they are now, if they changed; return whether they did. Old connections go on.

        Another program changes one file after the other: a pair that does not fit is looked at again next time.
        """
        files = self._choose()
        mark = _mark(files)
        if mark == self._mark:
            return False
        try:
            self.identity.context = server_context(*files)
        except ConfigError as error:
            if not self.fault:
                log.warning("uplink.certificate_refused")
            self.fault = str(error)
            return False
        self._mark, self.fault = mark, ""
        log.info("uplink.certificate_exchanged")
        return True


def _mark(files: Files) -> tuple[object, ...]:
    return tuple(_mark_of(path) for path in dict.fromkeys(files))


def _mark_of(path: Path) -> tuple[object, ...]:
    try:
        # Links are followed: certbot changes what they lead to.
        found = os.stat(path)
    except OSError:
        return (path,)
    return path, found.st_ino, found.st_mtime_ns, found.st_size
