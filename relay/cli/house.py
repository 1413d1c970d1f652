"""The one place where the command line reaches into the house: the running box, and its state while it is off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relay.admin.operator import Operator
from relay.base.config import Config
from relay.base.errors import RelayError
from relay.cli.files import act_as_owner


@asynccontextmanager
async def open_house(folder: Path, config: Config, *, phrase: str | None = None) -> AsyncIterator[Operator]:
    """Open the state of `folder` without doors and network; made if there is none, with `phrase` as its passphrase."""
    from relay.app import open_offline

    act_as_owner(folder)
    async with open_offline(folder, config, phrase=phrase) as operator:
        yield operator


def repair_house(folder: Path, config: Config) -> list[str]:
    """Repair the state folder, which no box holds; return in words what was done."""
    from relay.app.repairing import repair_house

    return repair_house(folder, config).lines()


def look_at_house(folder: Path, config: Config) -> RelayError | None:
    """Return why a box could not open the state folder, which no box holds; nothing is changed."""
    from relay.app.repairing import look_at_house

    return look_at_house(folder, config)


def run_house(folder: Path, *, safe: bool = False) -> bool:
    """Serve until stopped, or with `safe` nobody; return whether a new start was asked for."""
    from relay.app import failed_starts, run
    from relay.box.heap import share_heap

    act_as_owner(folder)
    share_heap()
    noted = failed_starts.noted(folder)
    why = failed_starts.SafeModeAskedError("it was asked for") if safe else failed_starts.why_safe(folder)
    again = run(folder, why)
    if why is not None and failed_starts.noted(folder) == noted:
        # Whoever asks for a new start from there wants one like any other, unless they asked for safe mode again.
        failed_starts.forget(folder)
    return again


def move_key(folder: Path, before: Config, after: Config, phrases: tuple[str | None, str | None]) -> None:
    """Have the keys of the state folder wrapped by the source that `after` names; that of `before` opens them, too."""
    from relay.app.house import move_key

    move_key(folder, before.store, after.store, phrases)


def settle_key(folder: Path, config: Config, phrase: str | None) -> None:
    """End a move of the key: from now on only the source that `config` names opens."""
    from relay.app.house import unlock

    unlock(folder, config.store, phrase)
