"""A box whose key is not there yet: it waits, says for what, and goes on by itself once it has it.

One state for all sources: a stick that is not in, a TPM that is not ready, a passphrase that nobody gave yet. Nothing
is served and nothing opened meanwhile; the admin socket answers `status` and `doctor`, and takes the passphrase.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from relay.admin.advice import next_step
from relay.admin.requests import GivePassphrase, Request
from relay.app.house import unlock
from relay.app.infirmary import Infirmary, attend
from relay.app.stopping import StopAsked
from relay.app.supervised import show_on
from relay.base import log
from relay.base.config import Config
from relay.base.errors import ConflictError, KeyAbsentError, RelayError, WrongKeyError
from relay.box.light import Shown, StatusLight
from relay.box.service import Supervisor
from relay.store.files import OS_FILES
from relay.store.keyring import Keyring

# Looking for a file costs nothing; a TPM is asked a little more seldom than people look at it.
_LOOK_EVERY_S = 2.0
_TELL_EVERY_S = 20.0
_MORE_TIME_S = 120.0

Unlocks = Callable[[str | None], Keyring]
"""Tries to open the keyring, with a passphrase or without one."""


async def open_or_wait(folder: Path, config: Config, stop: StopAsked, light: StatusLight) -> Keyring | None:
    """Return the keys of the state folder, as soon as their source gives them; None when asked to stop before.

    Raises:
        WrongKeyError: another key is there, and somebody is there to be told.
        RelayError: the key will not come by waiting.
    """
    supervisor = Supervisor()
    try:
        return unlock(folder, config.store)
    except KeyAbsentError as absent:
        why: RelayError = absent
    except WrongKeyError as wrong:
        # Whoever restarts services would try the same key for ever, and nobody could give another one meanwhile.
        if not supervisor.present:
            raise
        why = wrong
    waiting = AwaitedKey(partial(unlock, folder, config.store), config, why, stop)
    with OS_FILES.lock(folder):
        return await waiting.wait(folder, supervisor, light)


class AwaitedKey(Infirmary):
    """Waits for one key; meanwhile it is the operator of the box."""

    def __init__(self, unlocks: Unlocks, config: Config, why: RelayError, stop: StopAsked) -> None:
        super().__init__(why, stop, config.server.name)
        self._unlocks = unlocks
        self._by_phrase = config.store.key_source == "passphrase"
        self._one_at_a_time = trio.Lock()
        self._keys: Keyring | None = None
        self._opened = trio.Event()

    async def wait(self, folder: Path, supervisor: Supervisor, light: StatusLight) -> Keyring | None:
        """Return the keys once they are there, None when asked to stop."""
        sys.stderr.write(f"relay: {self.words}\n  next: {next_step(self.code)}\n")
        sys.stderr.flush()
        log.get_logger().warning("app.key_awaited", code=self.fault.code)
        async with trio.open_nursery() as workers:
            await workers.start(attend, folder, self, self._stop)
            workers.start_soon(self._tell, supervisor, light)
            workers.start_soon(self._end_with_stop)
            if not self._by_phrase:
                workers.start_soon(self._look_again)
            await self._opened.wait()
            workers.cancel_scope.cancel()
        light.show(Shown.STARTING)
        return self._keys

    async def carry_out(self, request: Request) -> dict[str, Any]:
        """Return the result of `request`; see `relay.admin.operator.Operator`."""
        if isinstance(request, GivePassphrase):
            return await self._try(request.passphrase)
        return await super().carry_out(request)

    def refusal(self) -> RelayError:
        """Return what everything else is answered."""
        return KeyAbsentError(self.words)

    @property
    def words(self) -> str:
        """Return what the box waits for."""
        what = "locked, waiting for the passphrase" if self._by_phrase else "waiting for its key"
        return f"the box is {what}: {self.fault}"

    @property
    def code(self) -> str:
        """Return what the next step follows from."""
        return "storage.locked_by_phrase" if self._by_phrase else self.fault.code

    def _facts(self) -> dict[str, Any]:
        return {"waits": self.words}

    async def _try(self, phrase: str) -> dict[str, Any]:
        if not self._by_phrase:
            raise ConflictError(f"the key of this box is no passphrase: {self.words}")
        # Guesses wait for each other: argon2id sets the pace, and takes its memory once.
        async with self._one_at_a_time:
            await self._open(phrase)
        return {"unlocked": True}

    async def _open(self, phrase: str | None) -> None:
        if self._keys is None:
            self._keys = await trio.to_thread.run_sync(self._unlocks, phrase)
            self._opened.set()

    async def _look_again(self) -> None:
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            try:
                await self._open(None)
            except RelayError as error:
                # Whatever it is now is what a person has to know: another stick, a TPM that was cleared.
                self.fault = error

    async def _tell(self, supervisor: Supervisor, light: StatusLight) -> None:
        while True:
            supervisor.more_time(_MORE_TIME_S, self.words)
            # What a person brings is waited for; what is there and wrong needs somebody who knows more.
            await show_on(light, Shown.WAITING if isinstance(self.fault, KeyAbsentError) else Shown.ATTENTION)
            await trio.sleep(_TELL_EVERY_S)

    async def _end_with_stop(self) -> None:
        await self._stop.asked.wait()
        self._opened.set()
