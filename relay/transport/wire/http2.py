"""HTTP/2 with h2: many exchanges at once, with flow control, behind the same interface as HTTP/1.1."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings

from relay.base.limits import (
    KIB,
    MAX_H2_FRAME_BYTES,
    MAX_H2_STREAMS,
    MAX_H2_UNREAD_BYTES,
    MAX_HEADER_BYTES,
)
from relay.transport.wire.events import (
    BodyEnd,
    BodyPiece,
    Event,
    GoingAway,
    Header,
    RequestHead,
    ResponseHead,
    RoomGrew,
    StreamGoneError,
    StreamReset,
    WireError,
)
from relay.transport.wire.fields import read_request, read_response
from relay.transport.wire.floods import FrameGauge
from relay.transport.wire.outgoing import Outgoing

_WINDOW_BYTES = 65_535
_UNWANTED_BYTES = 256 * KIB
# RFC 9113, 8.2.2: fields of HTTP/1.1's connections, which must not be sent here; `host` became `:authority`.
_CONNECTION_FIELDS = frozenset(
    (b"connection", b"host", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)


class _Machine(h2.connection.H2Connection):
    # Remembered only to tell late frames from wrong ones; the library's 65,536 would be megabytes a connection.
    MAX_CLOSED_STREAMS = 256


@dataclasses.dataclass(slots=True)
class _Stream:
    we_write: bool
    they_write: bool = True
    expects_100: bool = False
    held_bytes: int = 0
    unwanted_left: int | None = None
    """After an early answer: how much more of the request is thrown away before the stream is reset."""


class Http2(Outgoing):
    """One HTTP/2 connection.

    Args:
        server: whether we answer; otherwise we ask.
    """

    multiplexed = True
    wants_input = True
    """Always: flow control bounds bodies, `FrameGauge` bounds the rest."""

    def __init__(self, *, server: bool) -> None:
        super().__init__()
        self._server = server
        self._machine = _Machine(
            h2.config.H2Configuration(
                client_side=not server,
                header_encoding=None,
                validate_inbound_headers=False,  # `fields` does it
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._machine.local_settings = Settings(
            client=not server,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_H2_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
                SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self._machine.decoder.max_header_list_size = MAX_HEADER_BYTES
        self._gauge = FrameGauge(server=server)
        self._streams: dict[int, _Stream] = {}
        self._closing = False
        self._machine.initiate_connection()
        self._machine.increment_flow_control_window(MAX_H2_UNREAD_BYTES - _WINDOW_BYTES)
        self._collect()

    def receive(self, data: bytes, now_s: float) -> list[Event]:
        """Return what `data` means; `b""` is the end of the connection."""
        if not data:
            self._closing = True
            return []
        try:
            received = self._machine.receive_data(self._gauge.walk(data, now_s))
        except WireError as error:
            raise self._refuse(error.reason, ErrorCodes.ENHANCE_YOUR_CALM) from None
        except h2.exceptions.DenialOfServiceError:
            raise self._refuse("headers_too_large", ErrorCodes.ENHANCE_YOUR_CALM) from None
        except h2.exceptions.ProtocolError:
            raise self._refuse("malformed", ErrorCodes.PROTOCOL_ERROR) from None
        events: list[Event] = []
        for event in received:
            self._translate(event, events)
        if self._gauge.last_stream is not None and not self._closing:
            self._go_away(self._gauge.last_stream, events)
        self._collect()
        return events

    def proceed(self) -> list[Event]:
        """Return nothing: no event ever waits for another exchange."""
        return []

    @property
    def head_pending(self) -> bool:
        """Whether a frame or header block has begun and not ended; bodies may come slower."""
        return self._gauge.inside

    @property
    def open_for_more(self) -> bool:
        """Whether another exchange can begin."""
        return not self._closing

    @property
    def most_streams(self) -> int:
        """How many exchanges the peer lets us run at once."""
        return min(MAX_H2_STREAMS, self._machine.remote_settings.max_concurrent_streams)

    def request(self, method: str, target: str, headers: Sequence[Header], *, ended: bool) -> int:
        """Queue the head of a request; return its stream.

        Raises:
            StreamGoneError: the connection takes no more of them.
        """
        authority = next((value for name, value in headers if name == b"host"), b"")
        fields = [
            (b":method", method.encode("ascii")),
            (b":scheme", b"https"),
            (b":authority", authority),
            (b":path", target.encode("ascii")),
            *(field for field in headers if field[0] not in _CONNECTION_FIELDS),
        ]
        try:
            stream = self._machine.get_next_available_stream_id()
            self._machine.send_headers(stream, fields, end_stream=ended)
        except h2.exceptions.ProtocolError:
            self._closing = True
            raise StreamGoneError from None
        self._streams[stream] = _Stream(we_write=not ended)
        self._collect()
        return stream

    def allow_body(self, stream: int) -> None:
        """Queue `100 Continue` if the peer waits for one."""
        state = self._streams.get(stream)
        if state is not None and state.expects_100:
            state.expects_100 = False
            self._machine.send_headers(stream, [(b":status", b"100")])
            self._collect()

    def respond(self, stream: int, status: int, headers: Sequence[Header], *, ended: bool) -> None:
        """Queue the head of a response."""
        state = self._writable(stream)
        state.expects_100 = False
        fields = [(b":status", b"%d" % status), *(field for field in headers if field[0] not in _CONNECTION_FIELDS)]
        self._machine.send_headers(stream, fields, end_stream=ended)
        if ended:
            self._end_writing(stream, state)
        self._collect()

    def send(self, stream: int, data: memoryview, *, ended: bool) -> int:
        """Queue as much of `data` as flow control allows now, and the end with its last byte; return how much."""
        state = self._writable(stream)
        most = min(self._machine.max_outbound_frame_size, MAX_H2_FRAME_BYTES)
        sent = 0
        while True:
            room = min(most, self._machine.local_flow_control_window(stream))
            piece = data[sent : sent + max(0, room)]
            last = sent + len(piece) == len(data)
            if piece or (last and ended):
                self._machine.send_data(stream, piece.tobytes(), end_stream=ended and last)
                # Every frame sent may rightly be answered by window updates.
                self._gauge.control.give(2)
                sent += len(piece)
            if last and ended:
                self._end_writing(stream, state)
            if last or not piece:
                self._collect()
                return sent

    def consumed(self, stream: int, held_bytes: int) -> None:
        """Open the peer's windows again by what was read."""
        state = self._streams.get(stream)
        # Bytes of a stream that has ended were given back when it did.
        if state is not None and held_bytes and state.unwanted_left is None:
            state.held_bytes -= held_bytes
            self._machine.acknowledge_received_data(held_bytes, stream)
            if not state.they_write and not state.we_write and not state.held_bytes:
                del self._streams[stream]
            self._collect()

    def reset(self, stream: int, *, refused: bool = False) -> None:
        """Give up on one stream."""
        if stream in self._streams:
            self._forget(stream)
            self._abandon(stream, ErrorCodes.REFUSED_STREAM if refused else ErrorCodes.CANCEL)
            self._collect()

    def close(self) -> None:
        """Send GOAWAY: streams begun may finish, new ones are refused."""
        if not self._closing:
            self._closing = True
            # By hand: h2 closes its machine with a GOAWAY of its own and could not finish what has begun.
            last = self._machine.highest_inbound_stream_id
            self._out.append(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last.to_bytes(4, "big") + bytes(4))

    def time_out(self) -> None:
        """Send GOAWAY: there is no other way to say that nothing came in time."""
        self.close()

    def _refuse(self, reason: str, code: ErrorCodes) -> WireError:
        """Return the error to raise, with a GOAWAY queued unless h2 has queued its own."""
        self._closing = True
        self._streams.clear()
        if self._machine.state_machine.state is not h2.connection.ConnectionState.CLOSED:
            self._machine.close_connection(code)
        self._collect()
        return WireError(reason)

    def _collect(self) -> None:
        data = self._machine.data_to_send()
        if data:
            self._out.append(data)

    def _writable(self, stream: int) -> _Stream:
        state = self._streams.get(stream)
        if state is None or not state.we_write:
            raise StreamGoneError
        return state

    def _end_writing(self, stream: int, state: _Stream) -> None:
        state.we_write = False
        if self._server and state.they_write:
            # Answered before the request was complete: its rest is not wanted (RFC 9113, 8.1). Reset only if it does
            # not end soon: some clients lose the answer when the reset comes with it.
            self._give_back(stream, state)
            state.unwanted_left = _UNWANTED_BYTES
        elif not state.they_write:
            self._forget(stream)

    def _forget(self, stream: int) -> None:
        self._give_back(stream, self._streams.pop(stream))

    def _give_back(self, stream: int, state: _Stream) -> None:
        if state.held_bytes:
            self._machine.acknowledge_received_data(state.held_bytes, stream)
            state.held_bytes = 0

    def _abandon(self, stream: int, code: ErrorCodes) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self._machine.reset_stream(stream, code)

    def _go_away(self, last_stream: int, events: list[Event]) -> None:
        self._closing = True
        events.append(GoingAway(last_stream))
        if not self._server:
            for stream in [stream for stream in self._streams if stream > last_stream]:
                self._forget(stream)
                events.append(StreamReset(stream, untouched=True))

    def _translate(self, event: h2.events.Event, events: list[Event]) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._on_request(event, events)
        elif isinstance(event, h2.events.DataReceived):
            self._on_data(event, events)
        elif isinstance(event, h2.events.StreamEnded):
            self._on_end(event, events)
        elif isinstance(event, h2.events.ResponseReceived):
            self._on_response(event, events)
        elif isinstance(event, h2.events.WindowUpdated):
            events.append(RoomGrew(event.stream_id or 0))
        elif isinstance(event, h2.events.StreamReset):
            self._on_reset(event, events)
        elif (
            isinstance(event, h2.events.RemoteSettingsChanged)
            and SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings
        ):
            events.append(RoomGrew(0))

    def _on_request(self, event: h2.events.RequestReceived, events: list[Event]) -> None:
        try:
            method, target, headers = read_request(event.headers)
        except WireError as error:
            raise self._refuse(error.reason, ErrorCodes.PROTOCOL_ERROR) from None
        ended = event.stream_ended is not None
        if self._closing:
            # After our GOAWAY: the peer may try it on another connection.
            self._abandon(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        expects_100 = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        self._streams[event.stream_id] = _Stream(we_write=True, they_write=not ended, expects_100=expects_100)
        events.append(RequestHead(event.stream_id, method, target, headers, ended))

    def _on_response(self, event: h2.events.ResponseReceived, events: list[Event]) -> None:
        state = self._streams.get(event.stream_id)
        if state is None:
            return
        try:
            status, headers = read_response(event.headers)
        except WireError as error:
            raise self._refuse(error.reason, ErrorCodes.PROTOCOL_ERROR) from None
        events.append(ResponseHead(event.stream_id, status, headers, event.stream_ended is not None))

    def _on_data(self, event: h2.events.DataReceived, events: list[Event]) -> None:
        state = self._streams.get(event.stream_id)
        if state is None:
            self._machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            return
        if state.unwanted_left is not None:
            self._discard(event, state, state.unwanted_left)
            return
        # Padding is given back at once: nobody above will read it.
        padding = event.flow_controlled_length - len(event.data)
        if padding:
            self._machine.acknowledge_received_data(padding, event.stream_id)
        if event.data:
            state.held_bytes += len(event.data)
            events.append(BodyPiece(event.stream_id, bytes(event.data), len(event.data)))

    def _discard(self, event: h2.events.DataReceived, state: _Stream, left: int) -> None:
        state.unwanted_left = left - event.flow_controlled_length
        self._machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if state.unwanted_left < 0:
            self._forget(event.stream_id)
            self._abandon(event.stream_id, ErrorCodes.NO_ERROR)

    def _on_end(self, event: h2.events.StreamEnded, events: list[Event]) -> None:
        state = self._streams.get(event.stream_id)
        if state is None:
            return
        state.they_write = False
        if state.unwanted_left is not None:
            self._forget(event.stream_id)
            return
        last = events[-1] if events else None
        if not (isinstance(last, RequestHead | ResponseHead) and last.stream == event.stream_id and last.ended):
            events.append(BodyEnd(event.stream_id))
        if not state.we_write and not state.held_bytes:
            self._forget(event.stream_id)

    def _on_reset(self, event: h2.events.StreamReset, events: list[Event]) -> None:
        if event.stream_id in self._streams:
            self._forget(event.stream_id)
            events.append(StreamReset(event.stream_id, untouched=event.error_code == ErrorCodes.REFUSED_STREAM))
