"""Whoever carries out an operator's requests: the running box, or the state itself while no box runs."""

from typing import Any, Protocol

from relay.admin.requests import Request


class Operator(Protocol):
    """Carries out one request at a time or several at once."""

    async def carry_out(self, request: Request) -> dict[str, Any]:
        """Return the result as JSON values.

        Raises:
            RelayError: the request was refused or failed; nothing was half done.
        """
        ...
