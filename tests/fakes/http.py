"""Requests without a connection, for calling `Router.answer` or an endpoint directly."""

from collections.abc import Iterable
from typing import Any

import orjson

from relay.transport.message import Headers, Pieces, Request, Response


def make_request(
    method: str,
    target: str,
    *,
    body: bytes | dict[str, Any] | list[Any] | None = None,
    token: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    address: str = "192.0.2.1",
) -> Request:
    """Return a request; a dict or list as body is sent as JSON, `token` as a bearer token."""
    fields = list(headers)
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    if token is not None:
        fields.append(("Authorization", f"Bearer {token}"))
    if raw:
        fields.append(("Content-Length", str(len(raw))))
    encoded = Headers((name.encode("latin-1"), value.encode()) for name, value in fields)
    return Request(method, target, encoded, address, Pieces(raw))


async def whole_body(response: Response) -> bytes:
    """Return the body of `response`, reading a streamed one to its end."""
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([piece async for piece in response.body])


async def answer_json(response: Response) -> Any:
    """Return the JSON in the body of `response`."""
    return orjson.loads(await whole_body(response))
