"""What a running house does to be found: only what its settings name is started, and loaded at all."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import trio

from relay.app.health import Watcher
from relay.app.house import House


@contextlib.asynccontextmanager
async def reaching_out(house: House, listening: Mapping[str, str]) -> AsyncIterator[Sequence[Watcher]]:
    """Let the world find `house`, whose doors are open at the addresses `listening`; on leaving, say goodbye."""
    watchers: list[Watcher] = []
    async with trio.open_nursery() as nursery:
        yield watchers
        nursery.cancel_scope.cancel()
