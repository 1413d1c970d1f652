"""The door the family's apps come through: routes, CORS, error replies and authentication.

Client-server API, "API Standards", "Web Browser Clients" (CORS) and "Client Authentication".
"""

from collections.abc import Awaitable, Callable
from typing import Any

from relay.base.errors import InvalidInputError, RelayError, UnauthenticatedError
from relay.base.limits import MAX_CLIENT_JSON_BODY_BYTES
from relay.core.matrix.canonical_json import parse
from relay.core.matrix.replies import matrix_reply
from relay.delivery.bounds.admission import Admission
from relay.household.sessions import Session
from relay.transport.message import Request, Response
from relay.transport.routing import Router

Reply = Response | dict[str, Any] | None
"""What an endpoint returns: a dict becomes a 200 with that JSON, None one with `{}`."""

PublicEndpoint = Callable[[Request], Awaitable[Reply]]
PrivateEndpoint = Callable[[Session, Request], Awaitable[Reply]]
Authenticate = Callable[[str], Awaitable[Session]]
"""Turns an access token into its session, or raises `UnauthenticatedError`."""

CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"),
    ("Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization, Range"),
    ("Access-Control-Expose-Headers", "Content-Range, Accept-Ranges"),
)

Grows = Callable[[Request], Awaitable[bool]]
"""Whether what a request asks for takes more room than it gives back."""


async def grows(_request: Request) -> bool:
    """Return True, for endpoints of which every request does."""
    return True


_V3 = "/_matrix/client/v3/"
_R0 = "/_matrix/client/r0/"


class Door:
    """All endpoints of the client-server API, each hung here by its module's `register`."""

    def __init__(self, authenticate: Authenticate, admission: Admission) -> None:
        self._authenticate = authenticate
        self._admission = admission
        self._router = Router(refuse=refuse, headers=CORS_HEADERS)

    def public(self, method: str, pattern: str, endpoint: PublicEndpoint) -> None:
        """Answer `method pattern` to anybody; a v3 pattern is also answered under r0, which old apps ask."""

        async def answer(request: Request) -> Response:
            return _response(await endpoint(request))

        self._add(method, pattern, answer)

    def private(self, method: str, pattern: str, endpoint: PrivateEndpoint, *, grows: Grows | None = None) -> None:
        """Answer `method pattern` to whoever holds an access token.

        What `grows` says takes more room than it gives back is slowed down and refused where a limit is near; the rest,
        reading, deleting, leaving, logging in and out, never is.
        """

        async def answer(request: Request) -> Response:
            session = await self._authenticate(access_token(request))
            if grows is None or not await grows(request):
                return _response(await endpoint(session, request))
            self._admission.take_from_user(session.user, 0)
            try:
                return _response(await endpoint(session, request))
            finally:
                self._admission.count_from_user(session.user, request.gathered_bytes)

        self._add(method, pattern, answer)

    async def answer(self, request: Request) -> Response:
        """Return the reply to `request`; every fault is a reply too."""
        return await self._router.answer(request)

    def _add(self, method: str, pattern: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._router.add(method, pattern, answer)
        if pattern.startswith(_V3):
            self._router.add(method, _R0 + pattern.removeprefix(_V3), answer)


def refuse(error: RelayError) -> Response:
    """Return the reply of this API to `error`."""
    status, body = matrix_reply(error)
    headers = [] if error.retry_after_s is None else [("Retry-After", str(max(1, round(error.retry_after_s))))]
    return Response.json(body, status, headers)


def access_token(request: Request) -> str:
    """Return the access token of `request`: from its header, or from the deprecated query parameter.

    Raises:
        UnauthenticatedError: it carries none.
    """
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
    token = request.argument("access_token") or ""
    if not token:
        raise MissingTokenError("this endpoint needs an access token")
    return token


class MissingTokenError(UnauthenticatedError):
    """A private endpoint was asked without any token (`M_MISSING_TOKEN`)."""

    code = "unauthenticated.missing_token"


async def json_object(request: Request, limit_bytes: int = MAX_CLIENT_JSON_BODY_BYTES) -> dict[str, Any]:
    """Return the body of `request`; an empty body is an empty object, as apps leave out what has only optional fields.

    Raises:
        NotJsonError: it is not JSON.
        InvalidInputError: it is JSON, but not an object.
        TooLargeError: it is longer than `limit_bytes`.
    """
    body = await request.body(limit_bytes)
    if not body:
        return {}
    value = parse(body)
    if not isinstance(value, dict):
        raise InvalidInputError("the body is not a JSON object")
    return value


def _response(reply: Reply) -> Response:
    if isinstance(reply, Response):
        return reply
    return Response.json({} if reply is None else reply)
