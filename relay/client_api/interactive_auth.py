"""User-interactive authentication: the password (or an invitation) once more before something that hurts.

Sessions live in memory, are bound to one operation of one person, and expire; a power cut costs a retry.
Client-server API, "User-Interactive Authentication API".
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from relay.base.errors import ForbiddenError, InvalidInputError, RelayError
from relay.base.ids import ServerName, UserId
from relay.base.limits import MAX_UIA_SESSIONS, UIA_SESSION_LIFE_S
from relay.client_api.login import claimed_user
from relay.core.matrix.replies import matrix_reply
from relay.delivery.ledger import Ledger
from relay.household import accounts
from relay.household.login_limits import LoginLimits
from relay.household.sessions import Session
from relay.transport.message import Request, Response

Stage = Callable[[dict[str, Any]], Awaitable[Any]]
"""Takes the `auth` object; returns what the endpoint needs of it later, or raises a `RelayError`."""


@dataclass(slots=True)
class Attempt:
    """One person on the way through the stages of one operation.

    Attributes:
        results: what each completed stage returned, by its type.
    """

    session: str
    operation: str
    expires_s: float
    results: dict[str, Any] = field(default_factory=dict)


class InteractiveAuth:
    """The attempts under way, and the one stage that most endpoints ask for: the password."""

    def __init__(
        self,
        ledger: Ledger,
        server: ServerName,
        limits: LoginLimits,
        *,
        now_s: Callable[[], float] = trio.current_time,
    ) -> None:
        self._ledger = ledger
        self._server = server
        self._limits = limits
        self._now_s = now_s
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()

    async def challenge(self, operation: str, auth: object, stages: Mapping[str, Stage]) -> Attempt | Response:
        """Return the finished attempt, or the 401 that asks for what is missing.

        Args:
            operation: what is to be done and for whom: an attempt for one thing is worth nothing for another.
            auth: the `auth` field of the body, None where there is none.
            stages: the only flow: its stage types in order, with what checks each.

        Raises:
            InvalidInputError: `auth` is not an object, or has a field of the wrong type.
            RateLimitedError: a stage was tried too often.
        """
        if auth is not None and not isinstance(auth, dict):
            raise InvalidInputError("auth is not an object")
        attempt, error = self._attempt_of(operation, auth)
        if auth is None or error is not None:
            return _needed(attempt, stages, error)
        kind = auth.get("type")
        if kind is not None and (not isinstance(kind, str) or kind not in attempt.results):
            error = await self._try_stage(attempt, kind, auth, stages)
        if error is None and all(stage in attempt.results for stage in stages):
            return attempt
        return _needed(attempt, stages, error)

    async def password(
        self, operation: str, session: Session, request: Request, body: dict[str, Any]
    ) -> Response | None:
        """Return None if the person of `session` gave their password with `body`, else the 401 that asks for it.

        Raises:
            InvalidInputError, RateLimitedError: as `challenge`.
        """

        async def check(auth: dict[str, Any]) -> None:
            await self._check_password(session.user, request.address, auth)

        outcome = await self.challenge(f"{operation} {session.user}", body.get("auth"), {"m.login.password": check})
        if isinstance(outcome, Response):
            return outcome
        self.finish(outcome)
        return None

    def finish(self, attempt: Attempt) -> None:
        """Forget an attempt whose operation was done: it opens nothing twice."""
        self._attempts.pop(attempt.session, None)

    async def _check_password(self, user: UserId, address: str, auth: dict[str, Any]) -> None:
        if claimed_user(auth, self._server) != user:
            raise ForbiddenError("this is another person than the access token's")
        password = auth.get("password")
        if not isinstance(password, str):
            raise InvalidInputError("the password is missing or not a text")
        self._limits.spend(address, user)
        stored = await self._ledger.read(accounts.password_hash_of, user)
        await self._ledger.relieve()
        if not await accounts.verify_password(stored, password):
            raise ForbiddenError("wrong password")
        self._limits.forgive(address, user)

    async def _try_stage(
        self, attempt: Attempt, kind: object, auth: dict[str, Any], stages: Mapping[str, Stage]
    ) -> RelayError | None:
        following = next((stage for stage in stages if stage not in attempt.results), None)
        if not isinstance(kind, str) or kind != following:
            return ForbiddenError("this stage is not the next one")
        try:
            attempt.results[kind] = await stages[kind](auth)
        except (ForbiddenError, InvalidInputError) as error:
            return error
        return None

    def _attempt_of(self, operation: str, auth: dict[str, Any] | None) -> tuple[Attempt, RelayError | None]:
        now_s = self._now_s()
        name = None if auth is None else auth.get("session")
        if name is not None and not isinstance(name, str):
            raise InvalidInputError("auth.session is not a text")
        known = self._attempts.get(name) if name else None
        if known is not None and known.operation == operation and known.expires_s > now_s:
            return known, None
        attempt = Attempt(secrets.token_urlsafe(18), operation, now_s + UIA_SESSION_LIFE_S)
        self._attempts[attempt.session] = attempt
        while len(self._attempts) > MAX_UIA_SESSIONS:
            self._attempts.popitem(last=False)
        return attempt, ForbiddenError("this session is unknown or has expired; start again") if name else None


def _needed(attempt: Attempt, stages: Mapping[str, Stage], error: RelayError | None) -> Response:
    body: dict[str, Any] = {} if error is None else matrix_reply(error)[1]
    body |= {"session": attempt.session, "flows": [{"stages": list(stages)}], "params": {}}
    if attempt.results:
        body["completed"] = list(attempt.results)
    return Response.json(body, 401)
