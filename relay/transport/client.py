"""Asks other servers: a pool of connections, deadlines, bounded answers. Follows no redirect, keeps no cookie.

Any HTTP response is an answer, whatever its status; only its absence is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import orjson
import trio

from relay.base.errors import InvalidInputError, TooLargeError, UnreachableError
from relay.base.limits import BODY_STALL_TIMEOUT_S
from relay.transport.destination import Destination
from relay.transport.dialing import Dial
from relay.transport.link import BrokenCallError, Call, Link
from relay.transport.message import Header, Headers, render_field
from relay.transport.pool import Pool
from relay.transport.wire.events import StreamGoneError

_TARGET = re.compile(r"/[\x21-\x7e]*")
_USER_AGENT = (b"user-agent", b"Doorstep")
# RFC 9110, 9.2.2: repeating these has the effect of one. Matrix's PUT with a transaction id is among them.
_REPEATABLE = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))


class PeerTooSlowError(UnreachableError):
    """The peer did not answer in time."""

    code = "peer.timed_out"


@dataclasses.dataclass(slots=True)
class ClientResponse:
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        """Return the JSON in the body.

        Raises:
            InvalidInputError: there is none.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise InvalidInputError("the answer is not JSON") from None


class StreamedResponse:
    """An answer whose body is read piece by piece; the peer sends no faster than this is read."""

    def __init__(self, call: Call, status: int, headers: Headers) -> None:
        self._call = call
        self.status = status
        self.headers = headers

    def stream(self) -> AsyncIterator[bytes]:
        """Return the body; a peer that sends nothing for `BODY_STALL_TIMEOUT_S` ends it with `UnreachableError`."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        call = self._call
        while True:
            piece = call.take_piece()
            if piece is not None:
                return piece
            if call.ended:
                raise StopAsyncIteration
            if call.gone:
                raise BrokenCallError
            if not await call.wait(BODY_STALL_TIMEOUT_S):
                raise PeerTooSlowError("the peer stopped in the middle of its answer")

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            TooLargeError: it is longer than `limit_bytes`.
            UnreachableError: it stopped in the middle.
        """
        pieces: list[bytes] = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > limit_bytes:
                raise TooLargeError(f"the answer is longer than {limit_bytes} bytes")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@dataclasses.dataclass(frozen=True, slots=True)
class _Question:
    """What is asked, ready for the wire."""

    destination: Destination
    method: str
    target: str
    fields: list[Header]
    body: bytes


class HttpClient:
    """Requests over pooled connections. `run` must be running: it owns the connections.

    Args:
        dial: makes connections; `TcpDialer` for the real network.
    """

    def __init__(self, dial: Dial) -> None:
        self._pool = Pool(dial)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._pool.connections

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections until cancelled, then close them all."""
        try:
            async with trio.open_nursery() as nursery:
                self._pool.nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._pool.nursery = None

    async def request(
        self,
        destination: Destination,
        method: str,
        target: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_s: float,
        limit_bytes: int,
    ) -> ClientResponse:
        """Return the peer's answer, whatever its status.

        `target` is path and query as they go on the wire; `timeout_s` runs from now to the last byte of the answer;
        `limit_bytes` is how long its body may be.

        Raises:
            UnreachableError: no connection, no proof of its name, no answer in time, or one cut short.
            TooLargeError: its body is longer than `limit_bytes`.
            InvalidInputError: `target` holds what is not allowed on the wire.
        """
        with trio.move_on_after(timeout_s):
            async with self.stream(
                destination, method, target, headers=headers, body=body, timeout_s=math.inf
            ) as response:
                return ClientResponse(response.status, response.headers, await response.read(limit_bytes))
        raise PeerTooSlowError(f"no answer within {timeout_s:.0f} s")

    @contextlib.asynccontextmanager
    async def stream(
        self,
        destination: Destination,
        method: str,
        target: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_s: float,
    ) -> AsyncIterator[StreamedResponse]:
        """Return the answer once its head is here (within `timeout_s`); leaving the block gives up what was not read.

        Raises:
            UnreachableError: as `request`.
        """
        if not _TARGET.fullmatch(target):
            raise InvalidInputError("the target holds characters that must be percent-encoded")
        question = _Question(destination, method, target, _fields(destination, method, headers, body), body)
        link, call = await self._ask_patiently(question, timeout_s)
        try:
            assert call.head is not None
            yield StreamedResponse(call, call.head.status, Headers(call.head.headers))
        finally:
            link.end(call)

    async def _ask_patiently(self, question: _Question, timeout_s: float) -> tuple[Link, Call]:
        with trio.move_on_after(timeout_s):
            try:
                return await self._ask(question, fresh=False)
            except _StaleLinkError:
                return await self._ask(question, fresh=True)
        raise PeerTooSlowError(f"no answer within {timeout_s:.0f} s")

    async def _ask(self, question: _Question, *, fresh: bool) -> tuple[Link, Call]:
        if self._pool.nursery is None:
            raise UnreachableError("the box is stopping")
        link, used = await self._pool.link(question.destination, fresh=fresh)
        # No checkpoint until the call is begun: the place on the link is ours.
        call: Call | None = None
        try:
            call = link.begin(question.method, question.target, question.fields, ended=not question.body)
            if question.body:
                await self._send_body(call, question.body)
            await self._wait_for_head(call)
        except BrokenCallError as error:
            if call is not None:
                link.end(call)
            # Kept connections die unseen: once more on a new one, where repeating is harmless.
            if not fresh and (error.untouched or (used and question.method in _REPEATABLE)):
                raise _StaleLinkError from None
            raise
        except BaseException:
            if call is not None:
                link.end(call)
            raise
        return link, call

    async def _send_body(self, call: Call, body: bytes) -> None:
        try:
            await call.send(body, ended=True, flush=False)
        except StreamGoneError:
            # It may have answered early, refusing the rest: that answer counts.
            if call.head is None:
                raise BrokenCallError(untouched=call.untouched) from None

    async def _wait_for_head(self, call: Call) -> None:
        while call.head is None:
            if call.gone:
                raise BrokenCallError(untouched=call.untouched)
            await call.wait()


class _StaleLinkError(Exception):
    """The link broke in a way that allows one more attempt."""


def _fields(destination: Destination, method: str, headers: Sequence[tuple[str, str]], body: bytes) -> list[Header]:
    fields = [(b"host", destination.host_header.encode("ascii")), _USER_AGENT]
    fields += [render_field(name, value) for name, value in headers]
    if body or method in ("POST", "PUT"):
        fields.append((b"content-length", b"%d" % len(body)))
    return fields
