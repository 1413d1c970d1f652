"""HTTP/1.1 with h11: one exchange at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import h11

from relay.base.limits import MAX_HEADER_BYTES, MAX_HEADER_COUNT, MAX_TARGET_BYTES, MAX_UNREAD_BODY_BYTES
from relay.transport.wire.events import (
    BodyEnd,
    BodyPiece,
    Event,
    Header,
    RequestHead,
    ResponseHead,
    StreamGoneError,
    WireError,
)
from relay.transport.wire.outgoing import Outgoing

_REASONS = {400: "malformed", 408: "slow", 413: "body_too_large", 414: "target_too_large", 431: "headers_too_large"}
# States in which a response head can still be sent.
_UNANSWERED = (h11.IDLE, h11.SEND_RESPONSE)
_HEAD_END = re.compile(rb"\n\r?\n")


class Http1(Outgoing):
    """One HTTP/1.1 connection; exchanges are numbered 1, 2, 3... as streams.

    Args:
        server: whether we answer; otherwise we ask.
    """

    multiplexed = False
    most_streams = 1

    def __init__(self, *, server: bool) -> None:
        super().__init__()
        self._server = server
        self._machine = h11.Connection(h11.SERVER if server else h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._stream = 0 if server else 1
        self._held_bytes = 0
        self._input_waits = False
        self._input_ended = False
        self._closing = False
        self._incomplete = False

    def receive(self, data: bytes, now_s: float) -> list[Event]:
        """Return what `data` means; `b""` is the end of the connection."""
        if not data:
            self._input_ended = True
        elif not self._server and self._machine.our_state is h11.IDLE:
            # An answer before its question would be taken for the answer to the next one.
            raise self._refuse(400)
        try:
            self._machine.receive_data(data)
        except RuntimeError:
            raise self._refuse(400) from None
        return self._events()

    def proceed(self) -> list[Event]:
        """Start the next exchange if both sides are done with the last one; else there can be none."""
        machine = self._machine
        if machine.our_state is not h11.DONE or machine.their_state is not h11.DONE or self._closing:
            self._closing = True
            return []
        machine.start_next_cycle()
        self._held_bytes = 0
        if not self._server:
            self._stream += 1
            self._closing = bool(machine.trailing_data[0])
            return []
        return self._events()

    @property
    def wants_input(self) -> bool:
        """False while a body is not read fast enough, or pipelined requests pile up."""
        if self._held_bytes >= MAX_UNREAD_BODY_BYTES:
            return False
        return not self._input_waits or len(self._machine.trailing_data[0]) < MAX_UNREAD_BODY_BYTES

    @property
    def head_pending(self) -> bool:
        """Whether part of a head has arrived, and its rest has not."""
        return self._incomplete

    @property
    def open_for_more(self) -> bool:
        """Whether another exchange can follow."""
        machine = self._machine
        if self._closing or self._input_ended:
            return False
        return machine.our_state in (h11.IDLE, h11.DONE, h11.SEND_BODY, h11.SEND_RESPONSE) and machine.their_state in (
            h11.IDLE,
            h11.DONE,
            h11.SEND_BODY,
            h11.SEND_RESPONSE,
        )

    def request(self, method: str, target: str, headers: Sequence[Header], *, ended: bool) -> int:
        """Queue the head of a request; return its stream."""
        self._begin(lambda: h11.Request(method=method, target=target, headers=list(headers)), ended=ended)
        return self._stream

    def allow_body(self, stream: int) -> None:
        """Queue `100 Continue` if the peer waits for one."""
        if stream == self._stream and self._machine.they_are_waiting_for_100_continue:
            self._queue(h11.InformationalResponse(status_code=100, headers=[]))

    def respond(self, stream: int, status: int, headers: Sequence[Header], *, ended: bool) -> None:
        """Queue the head of a response."""
        self._check(stream)
        fields = [*headers, (b"connection", b"close")] if self._closing else list(headers)
        self._begin(lambda: h11.Response(status_code=status, headers=fields), ended=ended)

    def send(self, stream: int, data: memoryview, *, ended: bool) -> int:
        """Queue `data`: the transport's own back-pressure is the only flow control."""
        self._check(stream)
        if data:
            self._queue(h11.Data(data=data.tobytes()))
        if ended:
            self._queue(h11.EndOfMessage())
        return len(data)

    def consumed(self, stream: int, held_bytes: int) -> None:
        """Count `held_bytes` as read by whoever wanted them."""
        if stream == self._stream:
            self._held_bytes -= held_bytes

    def reset(self, stream: int, *, refused: bool = False) -> None:
        """End the connection: there is nothing smaller to give up."""
        if stream == self._stream:
            self._closing = True
            self._machine.send_failed()

    def close(self) -> None:
        """Take no further request; the response under way says `Connection: close`."""
        self._closing = True

    def time_out(self) -> None:
        """Queue a 408 if the peer is owed an answer for a head or body that did not come in time."""
        if self._server:
            self._refuse(408)

    def _check(self, stream: int) -> None:
        if stream != self._stream or self._machine.our_state is h11.ERROR:
            raise StreamGoneError

    def _begin(self, make_head: Callable[[], h11.Event], *, ended: bool) -> None:
        try:
            head = make_head()
        except h11.LocalProtocolError as error:
            # Ours: a field that is no field. Nothing was sent, and nothing can be.
            self._closing = True
            raise StreamGoneError from error
        self._queue(head)
        if ended:
            self._queue(h11.EndOfMessage())

    def _queue(self, event: h11.Event) -> None:
        try:
            data = self._machine.send(event)
        except h11.LocalProtocolError as error:
            # Ours: a body longer or shorter than announced. The peer sees a broken connection, never a wrong body.
            self._closing = True
            raise StreamGoneError from error
        if data:
            self._out.append(data)

    def _events(self) -> list[Event]:
        events: list[Event] = []
        self._input_waits = False
        self._incomplete = False
        machine = self._machine
        try:
            while True:
                waiting = machine.trailing_data[0] if machine.their_state in _UNANSWERED else b""
                if _is_too_long(waiting):
                    raise self._refuse(431)
                event = machine.next_event()
                if event is h11.NEED_DATA:
                    self._incomplete = bool(waiting)
                    return events
                if event is h11.PAUSED:
                    self._input_waits = True
                    return events
                if isinstance(event, h11.ConnectionClosed):
                    self._input_ended = True
                    return events
                self._translate(event, events)
        except h11.RemoteProtocolError as error:
            raise self._refuse(error.error_status_hint) from None

    def _translate(self, event: object, events: list[Event]) -> None:
        if isinstance(event, h11.Data):
            data = bytes(event.data)
            self._held_bytes += len(data)
            events.append(BodyPiece(self._stream, data, len(data)))
        elif isinstance(event, h11.EndOfMessage):
            last = events[-1] if events else None
            if isinstance(last, RequestHead | ResponseHead):
                last.ended = True
            else:
                events.append(BodyEnd(self._stream))
        elif isinstance(event, h11.Request):
            self._stream += 1
            headers = self._checked(event.headers)
            if len(event.target) > MAX_TARGET_BYTES:
                raise self._refuse(414)
            target = _origin_form(event.target.decode("ascii"))
            events.append(RequestHead(self._stream, event.method.decode("ascii"), target, headers, ended=False))
        elif isinstance(event, h11.Response):
            headers = self._checked(event.headers)
            events.append(ResponseHead(self._stream, event.status_code, headers, ended=False))

    def _checked(self, headers: Sequence[Header]) -> list[Header]:
        fields = list(headers)
        if len(fields) > MAX_HEADER_COUNT or sum(len(n) + len(v) for n, v in fields) > MAX_HEADER_BYTES:
            raise self._refuse(431)
        return fields

    def _refuse(self, status: int) -> WireError:
        self._closing = True
        status = status if status in _REASONS else 400
        if self._server and self._machine.our_state in _UNANSWERED:
            self._queue(
                h11.Response(status_code=status, headers=[(b"content-length", b"0"), (b"connection", b"close")])
            )
            self._queue(h11.EndOfMessage())
        return WireError(_REASONS[status])


def _is_too_long(waiting: bytes) -> bool:
    # h11 measures only a head that is not whole yet: whether a long one is refused, and as what, would depend on how it
    # was split. What cannot begin a head (RFC 9112, 3) is left to it: it refuses that at the first byte.
    if len(waiting) <= MAX_HEADER_BYTES + 1 or waiting[0] <= 0x20:
        return False
    end = _HEAD_END.search(waiting)
    return end is None or end.end() > MAX_HEADER_BYTES + 1


def _origin_form(target: str) -> str:
    """Return the path and query of an absolute-form target, which servers must accept (RFC 9112, 3.2.2)."""
    if target.startswith("/") or "://" not in target:
        return target
    _, slash, path = target.partition("://")[2].partition("/")
    return slash + path if slash else "/"
