"""Errors out of a nursery that the caller did not open: a lone one comes out as it was raised."""

import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def unwrapped() -> AsyncIterator[None]:
    """Take a lone error out of its group; several stay together."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1 and not isinstance(group.exceptions[0], BaseExceptionGroup):
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise
