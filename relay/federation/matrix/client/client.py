"""Signed requests to other servers: resolved, sent, and their answers told apart from their silence.

Source: Matrix S2S v1.19, "Request Authentication", "Resolving server names".
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import orjson

from relay.base.errors import InvalidInputError, PeerRefusedError, TooLargeError, UnreachableError
from relay.base.ids import ServerName
from relay.base.limits import MAX_JSON_VALUES, MAX_PEER_JSON_BYTES, MAX_PEER_ROOM_VALUES
from relay.base.log import get_logger
from relay.core.matrix import canonical_json
from relay.core.matrix.signing import SigningKey
from relay.federation.matrix.authentication import Signed, sign
from relay.transport.client import ClientResponse, HttpClient, StreamedResponse
from relay.transport.destination import Destination

log = get_logger()

Json = dict[str, Any]
Query = Sequence[tuple[str, str]]

_ERROR_BODY_BYTES = 64 * 1024


def path_of(prefix: str, *segments: str) -> str:
    """Return a path; every segment is percent-encoded whole, as ids hold `:`, `/` and `#`."""
    return "/".join((prefix, *(quote(segment, safe="") for segment in segments)))


class Places(Protocol):
    """Where servers are; `transport.discovery.Discovery` knows."""

    async def resolve(self, server: ServerName) -> Sequence[Destination]:
        """Return the places to try, in order; raises UnreachableError."""
        ...


class FederationClient:
    """Asks other servers in this server's name."""

    def __init__(
        self, http: HttpClient, discovery: Places, server: ServerName, key: SigningKey, *, timeout_s: float
    ) -> None:
        self._http = http
        self._discovery = discovery
        self._server = server
        self._key = key
        self._timeout_s = timeout_s

    async def get(
        self,
        server: ServerName,
        path: str,
        query: Query = (),
        *,
        signed: bool = True,
        timeout_s: float | None = None,
        limit_bytes: int = MAX_PEER_JSON_BYTES,
    ) -> Json:
        """Return the JSON object a server answers a GET with; `path` is percent-encoded already.

        Raises:
            UnreachableError: no answer, a 5xx, or an answer that is not JSON or longer than `limit_bytes`.
            PeerRefusedError: it refused.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        return await self._ask(server, "GET", target, None, signed=signed, timeout_s=timeout_s, limit_bytes=limit_bytes)

    async def put(
        self,
        server: ServerName,
        path: str,
        content: Json,
        *,
        timeout_s: float | None = None,
        limit_bytes: int = MAX_PEER_JSON_BYTES,
    ) -> Json:
        """Return what a server answers a PUT of `content` with; raises as `get`."""
        return await self._ask(server, "PUT", path, content, timeout_s=timeout_s, limit_bytes=limit_bytes)

    async def post(self, server: ServerName, path: str, content: Json, *, timeout_s: float | None = None) -> Json:
        """Return what a server answers a POST of `content` with; raises as `get`."""
        return await self._ask(server, "POST", path, content, timeout_s=timeout_s)

    @contextlib.asynccontextmanager
    async def stream(self, server: ServerName, path: str, query: Query = ()) -> AsyncIterator[StreamedResponse]:
        """Open the answer to a GET whose body is read piece by piece; raises as `get`."""
        target = f"{path}?{urlencode(query)}" if query else path
        headers = [("Authorization", sign(self._server, self._key, server, Signed("GET", target)))]
        destination = (await self._resolve(server))[0]
        async with self._http.stream(destination, "GET", target, headers=headers, timeout_s=self._timeout_s) as reply:
            if reply.status != 200:
                _refuse(reply.status, await _read_error(reply))
            yield reply

    async def _ask(
        self,
        server: ServerName,
        method: str,
        target: str,
        content: Json | None,
        *,
        signed: bool = True,
        timeout_s: float | None = None,
        limit_bytes: int = MAX_PEER_JSON_BYTES,
    ) -> Json:
        headers: list[tuple[str, str]] = []
        body = b""
        if content is not None:
            body = canonical_json.encode(content)
            headers.append(("Content-Type", "application/json"))
        if signed:
            headers.append(("Authorization", sign(self._server, self._key, server, Signed(method, target, content))))
        reply: ClientResponse | None = None
        for destination in await self._resolve(server):
            reply = await self._try(
                destination, method, target, headers=headers, body=body, timeout_s=timeout_s, limit_bytes=limit_bytes
            )
            if reply is not None:
                break
        if reply is None:
            raise UnreachableError("the server does not answer")
        if reply.status != 200:
            _refuse(reply.status, reply.body, reply.headers.get("retry-after"))
        most_values = MAX_PEER_ROOM_VALUES if limit_bytes > MAX_PEER_JSON_BYTES else MAX_JSON_VALUES
        return _parsed(reply.body, most_values)

    async def _try(
        self,
        destination: Destination,
        method: str,
        target: str,
        *,
        headers: list[tuple[str, str]],
        body: bytes,
        timeout_s: float | None,
        limit_bytes: int,
    ) -> ClientResponse | None:
        try:
            return await self._http.request(
                destination,
                method,
                target,
                headers=headers,
                body=body,
                timeout_s=timeout_s or self._timeout_s,
                limit_bytes=limit_bytes,
            )
        except TooLargeError:
            raise UnreachableError("the server's answer is too long") from None
        except UnreachableError as error:
            log.debug("federation.address_failed", reason=str(error))
            return None

    async def _resolve(self, server: ServerName) -> Sequence[Destination]:
        destinations = await self._discovery.resolve(server)
        if not destinations:
            raise UnreachableError("the server's name leads nowhere")
        return destinations


def _parsed(body: bytes, most_values: int) -> Json:
    try:
        return canonical_json.parse_object(body, most_values)
    except InvalidInputError:
        raise UnreachableError("the server answered with something that is not a JSON object") from None
    except TooLargeError:
        raise UnreachableError("the server's answer is too long") from None


async def _read_error(reply: StreamedResponse) -> bytes:
    try:
        return await reply.read(_ERROR_BODY_BYTES)
    except TooLargeError:
        return b""


def _refuse(status: int, body: bytes, retry_after: str | None = None) -> None:
    """Raise what an answer other than 200 means.

    Raises:
        UnreachableError: the server is in trouble (5xx).
        PeerRefusedError: it refuses; `retry_after_s` is what it asks for.
    """
    said = _said(body)
    errcode = said.get("errcode")
    if status >= 500:
        raise UnreachableError(f"the server answered {status}")
    refusal = PeerRefusedError(
        f"the server answered {status}", status=status, errcode=errcode if isinstance(errcode, str) else ""
    )
    refusal.retry_after_s = _retry_after_s(said, retry_after)
    raise refusal


def _said(body: bytes) -> Mapping[str, Any]:
    if len(body) > _ERROR_BODY_BYTES:
        return {}
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _retry_after_s(said: Mapping[str, Any], header: str | None) -> float | None:
    if header is not None and header.isascii() and header.isdigit():
        return float(header[:9])
    wait_ms = said.get("retry_after_ms")
    return wait_ms / 1000 if isinstance(wait_ms, int) and 0 <= wait_ms < 10**9 else None
