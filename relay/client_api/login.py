"""Coming in and going out: login by password, refresh, logout (client-server API, "Legacy API" and "Login")."""

from collections.abc import Callable
from typing import Any

from relay.base.clock import Clock
from relay.base.errors import Fault, ForbiddenError, InvalidInputError, InvalidParamError, RelayError
from relay.base.ids import DeviceId, ServerName, UserId
from relay.base.limits import ACCESS_TOKEN_LIFE_MS, MAX_ID_BYTES
from relay.client_api.door import Door, Reply, json_object
from relay.client_api.fields import optional_bool, optional_text, required_text
from relay.delivery.ledger import Change, Ledger
from relay.household import accounts, sessions
from relay.household.login_limits import LoginLimits
from relay.household.sessions import Session
from relay.household.tokens import Tokens, draw_device_id, draw_tokens
from relay.transport.message import Request

NoteDevices = Callable[[Change, UserId, DeviceId | None], None]
"""Tells whom it concerns that a device of somebody changed, or (None) their cross-signing keys: delivery's fan-out."""

_PASSWORD = "m.login.password"  # noqa: S105 - the name of a login type


class UnknownLoginTypeError(RelayError):
    """A way to log in that this box does not offer."""

    code = "login.unknown_type"
    fault = Fault.USER


def register(
    door: Door, ledger: Ledger, clock: Clock, *, server: ServerName, limits: LoginLimits, note: NoteDevices
) -> None:
    """Hang the endpoints of sessions here."""
    logins = _Logins(ledger, clock, server, limits, note)
    door.public("GET", "/_matrix/client/v3/login", logins.flows)
    door.public("POST", "/_matrix/client/v3/login", logins.login)
    door.public("POST", "/_matrix/client/v3/refresh", logins.refresh)
    door.private("POST", "/_matrix/client/v3/logout", logins.logout)
    door.private("POST", "/_matrix/client/v3/logout/all", logins.logout_all)


def claimed_user(body: dict[str, Any], server: ServerName) -> UserId:
    """Return who `body` says is logging in: `identifier`, or the older `user`.

    Raises:
        InvalidInputError: it says nothing of the kind.
        UnknownLoginTypeError: the identifier is not a Matrix user.
        ForbiddenError: it is nobody who could have an account here.
    """
    identifier = body.get("identifier", {"type": "m.id.user", "user": body.get("user")})
    if not isinstance(identifier, dict):
        raise InvalidInputError("identifier is not an object")
    if identifier.get("type") != "m.id.user":
        raise UnknownLoginTypeError("this box knows people by their Matrix name only")
    name = required_text(identifier, "user")
    try:
        user = UserId(name) if name.startswith("@") else accounts.new_user_id(name.lower(), server)
    except InvalidInputError:
        raise ForbiddenError("wrong user name or password") from None
    return user


def wanted_device(body: dict[str, Any]) -> DeviceId:
    """Return the device id that `body` asks for, or a new one.

    Raises:
        InvalidInputError: it is not a text, or not one that can name a device.
    """
    name = optional_text(body, "device_id")
    if not name:
        return draw_device_id()
    if len(name.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES or not name.isprintable():
        raise InvalidParamError(f"a device id has at most {MAX_ID_BYTES} printable bytes")
    return DeviceId(name)


def wanted_tokens(body: dict[str, Any], now_ms: int) -> Tokens:
    """Return new tokens: a pair that expires for apps that can refresh, else one that lasts."""
    if optional_bool(body, "refresh_token"):
        return draw_tokens(refreshable_until_ms=now_ms + ACCESS_TOKEN_LIFE_MS)
    return draw_tokens()


def token_fields(tokens: Tokens, now_ms: int) -> dict[str, Any]:
    """Return the fields that hand `tokens` to an app."""
    fields: dict[str, Any] = {"access_token": tokens.access}
    if tokens.refresh is not None:
        fields["refresh_token"] = tokens.refresh
    if tokens.expires_ms is not None:
        fields["expires_in_ms"] = tokens.expires_ms - now_ms
    return fields


class _Logins:
    def __init__(
        self, ledger: Ledger, clock: Clock, server: ServerName, limits: LoginLimits, note: NoteDevices
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._server = server
        self._limits = limits
        self._note = note

    async def flows(self, _request: Request) -> Reply:
        return {"flows": [{"type": _PASSWORD}]}

    async def login(self, request: Request) -> Reply:
        body = await json_object(request)
        if required_text(body, "type") != _PASSWORD:
            raise UnknownLoginTypeError("this box knows m.login.password only")
        user, password, device = claimed_user(body, self._server), required_text(body, "password"), wanted_device(body)
        name, now_ms = optional_text(body, "initial_device_display_name"), self._clock.wall_ms()
        tokens = wanted_tokens(body, now_ms)
        self._limits.spend(request.address, user)
        stored = await self._ledger.read(accounts.password_hash_of, user)
        await self._ledger.relieve()
        if not await accounts.verify_password(stored, password):
            raise ForbiddenError("wrong user name or password")
        self._limits.forgive(request.address, user)

        def step(change: Change) -> None:
            # The password may have been changed while it was being checked.
            if accounts.password_hash_of(change, user) != stored:
                raise ForbiddenError("wrong user name or password")
            sessions.open_session(change, user, device, name, now_ms, tokens)

        await self._ledger.run(step)
        return {"user_id": user, "device_id": device, **token_fields(tokens, now_ms)}

    async def refresh(self, request: Request) -> Reply:
        body = await json_object(request)
        token, now_ms = required_text(body, "refresh_token"), self._clock.wall_ms()
        issued = draw_tokens(refreshable_until_ms=now_ms + ACCESS_TOKEN_LIFE_MS)
        await self._ledger.run(sessions.refresh, token, issued)
        return token_fields(issued, now_ms)

    async def logout(self, session: Session, _request: Request) -> Reply:
        def step(change: Change) -> None:
            for gone in sessions.close(change, session):
                self._note(change, session.user, gone)

        await self._ledger.run(step)
        return None

    async def logout_all(self, session: Session, _request: Request) -> Reply:
        def step(change: Change) -> None:
            for gone in sessions.close_all(change, session.user):
                self._note(change, session.user, gone)

        await self._ledger.run(step)
        return None
