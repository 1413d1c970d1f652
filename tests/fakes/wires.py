"""What a conversation over a wire amounts to, however its bytes were split."""

import itertools
from collections.abc import Iterable

from relay.transport.wire.events import (
    BodyEnd,
    BodyPiece,
    Event,
    GoingAway,
    RequestHead,
    ResponseHead,
    StreamReset,
    Wire,
    WireError,
)


class Summary:
    """Events folded: heads, bodies, which streams are complete, which were reset, and the error if there was one."""

    def __init__(self) -> None:
        self.heads: dict[int, tuple[object, ...]] = {}
        self.bodies: dict[int, bytes] = {}
        self.complete: set[int] = set()
        self.reset: set[int] = set()
        self.last_stream: int | None = None
        self.error = ""

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, RequestHead):
                self.heads[event.stream] = (event.method, event.target, tuple(event.headers))
                if event.ended:
                    self.complete.add(event.stream)
            elif isinstance(event, ResponseHead):
                self.heads[event.stream] = (event.status, tuple(event.headers))
                if event.ended:
                    self.complete.add(event.stream)
            elif isinstance(event, BodyPiece):
                assert event.held_bytes == len(event.data)
                self.bodies[event.stream] = self.bodies.get(event.stream, b"") + event.data
            elif isinstance(event, BodyEnd):
                self.complete.add(event.stream)
            elif isinstance(event, StreamReset):
                self.reset.add(event.stream)
            elif isinstance(event, GoingAway):
                self.last_stream = event.last_stream

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Summary) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return repr(vars(self))


def listen_to(wire: Wire, pieces: Iterable[bytes]) -> Summary:
    """Return what `wire` understood of `pieces`, up to the error that ended it if one did."""
    summary = Summary()
    try:
        for piece in pieces:
            if piece:
                summary.add(wire.receive(piece, 0.0))
    except WireError as error:
        summary.error = error.reason
    return summary


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return `data` cut at `places`, each taken modulo its length."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(ends)]
