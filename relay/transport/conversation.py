"""The server's side of one connection: requests in, answers out, and every way in which a peer can be too slow."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from typing import Self

import trio

from relay.base.limits import (
    BODY_STALL_TIMEOUT_S,
    HEADER_TIMEOUT_S,
    IDLE_CONNECTION_TIMEOUT_S,
    KIB,
    MIN_BODY_BYTES_PER_S,
)
from relay.base.log import get_logger
from relay.transport.body_budget import BodyBudget
from relay.transport.message import Endpoint, Headers, Request, Response, render_field
from relay.transport.pump import READ_BYTES, Channel, Pump
from relay.transport.wire.events import (
    BodyEnd,
    BodyPiece,
    Event,
    RequestHead,
    RoomGrew,
    StreamGoneError,
    StreamReset,
    Wire,
    WireError,
)

log = get_logger()

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_LINGER_S = 1.0
_LINGER_BYTES = 256 * KIB
_CLOSE_S = 1.0


class Exchange(Channel):
    """One request being answered; also the body of that request, as an iterator."""

    __slots__ = ("_waited_s", "method", "scope", "slow")

    def __init__(self, pump: Pump, head: RequestHead) -> None:
        super().__init__(pump, head.stream, ended=head.ended)
        self.method = head.method
        self.scope = trio.CancelScope()
        self.slow = False
        self._waited_s = 0.0

    def lose(self, *, untouched: bool = False) -> None:
        """Stop what nobody waits for; a request that changes something and came whole is still carried out.

        Else a peer whose patience is shorter than our work would have the work begun again at every retry, for ever.
        """
        super().lose(untouched=untouched)
        if self.method in _SAFE or not self.ended:
            self.scope.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            piece = self.take_piece()
            if piece is not None:
                return piece
            if self.ended:
                raise StopAsyncIteration
            self._pump.wire.allow_body(self.stream)
            self._pump.kick()
            await self._wait_for_body()

    async def _wait_for_body(self) -> None:
        left_s = BODY_STALL_TIMEOUT_S + self.received_bytes / MIN_BODY_BYTES_PER_S - self._waited_s
        begun_s = trio.current_time()
        came = await self.wait(min(BODY_STALL_TIMEOUT_S, left_s))
        self._waited_s += trio.current_time() - begun_s
        if not came:
            self.slow = True
            self.scope.cancel()
            await trio.lowlevel.checkpoint()


class Conversation:
    """One connection, from its first byte to its last.

    Args:
        stream: after the TLS handshake, if there is one.
        wire: as ALPN chose it.
        address: the peer's, for rate limits.
        answer: called once a request.
        date: gives the value of the `Date` header.
        budget: shared with the door's other connections.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        wire: Wire,
        *,
        address: str,
        answer: Endpoint,
        date: Callable[[], bytes],
        budget: BodyBudget | None = None,
    ) -> None:
        self._stream = stream
        self._wire = wire
        self._address = address
        self._answer = answer
        self._date = date
        self._budget = budget
        self._exchanges: dict[int, Exchange] = {}
        self._served = 0
        self._head_since_s: float | None = None
        self._lingers = False
        self._dropped = False
        self.idle_since_s = trio.current_time()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, and it has not been dropped either."""
        return not self._exchanges and not self._dropped

    async def run(self, *, draining: bool = False) -> None:
        """Converse until either side ends it; raises nothing but `trio.Cancelled`. `draining`: end at once."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._pump = Pump(self._stream, self._wire, nursery)
                if draining:
                    self.drain()
                await self._read()
                for exchange in self._exchanges.values():
                    exchange.lose()
            await self._pump.flush()
            if self._lingers and not self._pump.broken:
                await self._linger()
        finally:
            with trio.move_on_after(_CLOSE_S, shield=True):
                await self._stream.aclose()

    def drain(self) -> None:
        """Take no further request; end when those begun are answered."""
        self._wire.close()
        self._pump.kick()
        if not self._exchanges:
            self._pump.reading.cancel()

    def drop(self) -> None:
        """End now."""
        self._dropped = True
        self._nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        pump, wire = self._pump, self._wire
        with pump.reading:
            self._set_deadline()
            if wire.unsent_bytes:
                await pump.flush()
            while wire.open_for_more or self._exchanges:
                data = await pump.receive()
                try:
                    self._act_on(wire.receive(data, trio.current_time()))
                except WireError as error:
                    self._give_up(error)
                    return
                if not data:
                    return
                self._set_deadline()
                if wire.unsent_bytes:
                    await pump.flush()
        if pump.reading.cancelled_caught and self._head_since_s is not None and not pump.broken:
            wire.time_out()
            self._lingers = True

    def _act_on(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestHead):
                self._begin(event)
                continue
            if isinstance(event, RoomGrew) and not event.stream:
                for exchange in self._exchanges.values():
                    exchange.wake()
                continue
            found = self._exchanges.get(getattr(event, "stream", 0))
            if found is None:
                continue
            if isinstance(event, BodyPiece):
                found.feed(event.data, event.held_bytes)
            elif isinstance(event, BodyEnd):
                found.end()
            elif isinstance(event, StreamReset):
                found.lose()
            else:
                found.wake()

    def _begin(self, head: RequestHead) -> None:
        exchange = Exchange(self._pump, head)
        self._exchanges[head.stream] = exchange
        request = Request(head.method, head.target, Headers(head.headers), self._address, exchange, budget=self._budget)
        self._nursery.start_soon(self._carry_out, exchange, request)

    def _give_up(self, error: WireError) -> None:
        log.debug("transport.peer_lingered", reason=error.reason)
        self._lingers = True
        for exchange in self._exchanges.values():
            exchange.lose()

    async def _carry_out(self, exchange: Exchange, request: Request) -> None:
        response: Response | None = None
        try:
            with exchange.scope:
                response = await self._ask(request)
            if response is None and exchange.slow:
                response = Response(408, [("Connection", "close")])
            if response is None or exchange.gone:
                self._wire.reset(exchange.stream)
            else:
                await self._respond(exchange, response)
        except StreamGoneError:
            self._wire.reset(exchange.stream)
        finally:
            request.release()
            if response is not None and not isinstance(response.body, bytes):
                await _close_body(response.body)
            self._end(exchange)
        if self._wire.unsent_bytes:
            await self._pump.flush()

    async def _ask(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - one bad endpoint must not end the server
            log.error("transport.answer_failed", error=type(error).__name__)  # noqa: TRY400 - messages are private
            return Response(500)

    async def _respond(self, exchange: Exchange, response: Response) -> None:
        headers = [(b"date", self._date())]
        headers += [render_field(name, value) for name, value in response.headers]
        body = response.body
        bodiless = exchange.method == "HEAD" or response.status in (204, 304) or response.status < 200
        length = len(body) if isinstance(body, bytes) else response.length_bytes
        if length is not None and response.status != 204 and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % length))
        ended = bodiless or body == b""
        self._wire.respond(exchange.stream, response.status, headers, ended=ended)
        if ended:
            await self._pump.flush()
        elif isinstance(body, bytes):
            await exchange.send(body, ended=True, flush=True)
        else:
            await self._respond_streaming(exchange, body)

    async def _respond_streaming(self, exchange: Exchange, body: AsyncIterator[bytes]) -> None:
        while not exchange.gone:
            piece: bytes | None = None
            finished = False
            exchange.scope = trio.CancelScope()
            with exchange.scope:
                try:
                    piece = await anext(body, None)
                    finished = piece is None
                except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - as in _ask
                    log.error("transport.body_failed", error=type(error).__name__)  # noqa: TRY400
            if finished:
                await exchange.send(b"", ended=True, flush=True)
                return
            if piece is None:
                raise StreamGoneError
            if piece:
                await exchange.send(piece, ended=False, flush=True)
        raise StreamGoneError

    def _end(self, exchange: Exchange) -> None:
        self._exchanges.pop(exchange.stream, None)
        self._served += 1
        self.idle_since_s = trio.current_time()
        try:
            self._act_on(self._wire.proceed())
        except WireError as error:
            self._give_up(error)
            self._pump.reading.cancel()
        if not self._exchanges and not self._wire.open_for_more:
            # Its body may still be coming: read it for a moment, or a reset could overtake our answer.
            self._lingers = self._lingers or not exchange.ended
            self._pump.reading.cancel()
        self._set_deadline()
        self._pump.look_again()

    def _set_deadline(self) -> None:
        now_s = trio.current_time()
        if self._wire.head_pending and (self._wire.multiplexed or not self._exchanges):
            if self._head_since_s is None:
                self._head_since_s = now_s
            deadline_s = self._head_since_s + HEADER_TIMEOUT_S
        else:
            self._head_since_s = None
            patience_s = IDLE_CONNECTION_TIMEOUT_S if self._served else HEADER_TIMEOUT_S
            deadline_s = math.inf if self._exchanges else self.idle_since_s + patience_s
        if self._pump.reading.deadline != deadline_s:
            self._pump.reading.deadline = deadline_s

    async def _linger(self) -> None:
        """Read and forget what is on its way: closing with unread input resets, and the answer would be lost."""
        left = _LINGER_BYTES
        with trio.move_on_after(_LINGER_S), contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while left > 0:
                data = await self._stream.receive_some(READ_BYTES)
                if not data:
                    return
                left -= len(data)


async def _close_body(body: AsyncIterator[bytes]) -> None:
    close = getattr(body, "aclose", None)
    if close is not None:
        with trio.move_on_after(_CLOSE_S, shield=True):
            try:
                await close()
            except Exception as error:  # noqa: BLE001 - as in _ask
                log.error("transport.body_not_closed", error=type(error).__name__)  # noqa: TRY400
