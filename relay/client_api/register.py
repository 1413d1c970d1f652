"""Joining the household with a single-use invitation (client-server API, "Account registration").

The stages are those other servers offer for tokens, so that apps find what they know.
"""

import secrets
from typing import Any

from relay.base.clock import Clock
from relay.base.errors import ForbiddenError, MissingParamError
from relay.base.ids import DeviceId, ServerName, UserId
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import optional_bool, optional_text, required_text
from relay.client_api.interactive_auth import InteractiveAuth
from relay.client_api.login import token_fields, wanted_device, wanted_tokens
from relay.delivery.ledger import Change, Index, Ledger
from relay.household import accounts, invitations, sessions
from relay.household.faults import UserInUseError
from relay.household.login_limits import LoginLimits
from relay.household.tokens import Tokens
from relay.transport.message import Request, Response

_TOKEN = "m.login.registration_token"  # noqa: S105 - the name of a stage


def register(
    door: Door, ledger: Ledger, clock: Clock, *, server: ServerName, auth: InteractiveAuth, limits: LoginLimits
) -> None:
    """Hang the endpoints of registration here."""
    registration = _Registration(ledger, clock, server, auth, limits)
    door.public("POST", "/_matrix/client/v3/register", registration.register)
    door.public("GET", "/_matrix/client/v3/register/available", registration.available)
    door.public("GET", "/_matrix/client/v1/register/m.login.registration_token/validity", registration.validity)


class _Registration:
    def __init__(
        self, ledger: Ledger, clock: Clock, server: ServerName, auth: InteractiveAuth, limits: LoginLimits
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._server = server
        self._auth = auth
        self._limits = limits

    async def register(self, request: Request) -> Reply:
        if request.argument("kind") not in (None, "user"):
            raise ForbiddenError("this box has no guests")
        body = await json_object(request)
        user, password = await self._checked(body)
        device, now_ms = wanted_device(body), self._clock.wall_ms()
        tokens = None if optional_bool(body, "inhibit_login") else wanted_tokens(body, now_ms)

        async def check_token(given: dict[str, Any]) -> str:
            token = required_text(given, "token")
            if not await self._is_valid(request, token):
                raise ForbiddenError("this invitation is not valid, or not any more")
            return token

        async def pass_by(_given: dict[str, Any]) -> None:
            return None

        outcome = await self._auth.challenge(
            "register", body.get("auth"), {_TOKEN: check_token, "m.login.dummy": pass_by}
        )
        if isinstance(outcome, Response):
            return outcome
        if password is None:
            raise MissingParamError("password is missing")
        name, password_hash = optional_text(body, "initial_device_display_name"), await accounts.hash_password(password)

        def step(change: Change) -> None:
            accounts.create(change, user, password_hash, now_ms)
            invitations.consume(change, outcome.results[_TOKEN], user, now_ms)
            if tokens is not None:
                sessions.open_session(change, user, device, name, now_ms, tokens)

        await self._ledger.run(step)
        self._auth.finish(outcome)
        return _registered(user, device, tokens, now_ms)

    async def available(self, request: Request) -> Reply:
        name = request.argument("username")
        if name is None:
            raise MissingParamError("username is missing")
        self._limits.spend(request.address, f"registration from {request.address}")
        await self._ledger.read(_refuse_taken, accounts.new_user_id(name, self._server))
        self._limits.forgive(request.address, f"registration from {request.address}")
        return {"available": True}

    async def validity(self, request: Request) -> Reply:
        token = request.argument("token")
        if token is None:
            raise MissingParamError("token is missing")
        return {"valid": await self._is_valid(request, token)}

    async def _is_valid(self, request: Request, token: str) -> bool:
        # By address alone: a bucket for all would let one guesser shut the door for everybody.
        bucket = f"registration from {request.address}"
        self._limits.spend(request.address, bucket)
        valid = await self._ledger.read(invitations.is_valid, token, self._clock.wall_ms())
        if valid:
            self._limits.forgive(request.address, bucket)
        return valid

    async def _checked(self, body: dict[str, Any]) -> tuple[UserId, str | None]:
        name, password = optional_text(body, "username"), optional_text(body, "password")
        user = accounts.new_user_id(secrets.token_hex(8) if name is None else name, self._server)
        await self._ledger.read(_refuse_taken, user)
        if password is not None:
            accounts.check_password(password)
        return user, password


def _refuse_taken(index: Index, user: UserId) -> None:
    if accounts.exists(index, user):
        raise UserInUseError("this user name is taken")


def _registered(user: UserId, device: DeviceId, tokens: Tokens | None, now_ms: int) -> dict[str, Any]:
    if tokens is None:
        return {"user_id": user}
    return {"user_id": user, "device_id": device, **token_fields(tokens, now_ms)}
