"""Taking events into a room, with whatever merging of states that needs, one bounded step at a time."""

from collections.abc import Callable, Sequence

from relay.base.errors import NotFoundError
from relay.base.ids import EventId, RoomId, ServerName
from relay.core.matrix.events import Event
from relay.rooms.matrix.deciding.acceptance import PUSHED, Known, Manner, Merge, Missing, Unmerged, decide, state_before
from relay.rooms.matrix.deciding.merging import Merger
from relay.rooms.matrix.storage import graph, state
from relay.rooms.matrix.storage.commit import Decision, NamedState, commit
from relay.rooms.matrix.storage.stored_event import Flags, StoredEvent
from relay.store.ledger import Change, Index, Ledger

Also = Callable[[Change], None]
AlsoOf = Callable[[Change, Event], None]

RUN = 50
"""Events taken in by one step."""


class Acceptor:
    """Runs decide, merge, decide... until the event is in, or its ancestors turn out to be missing."""

    def __init__(self, ledger: Ledger, server: ServerName) -> None:
        self._ledger = ledger
        self._server = server
        self._merger = Merger(ledger)

    async def accept(
        self,
        room: RoomId,
        event: Event,
        manner: Manner = PUSHED,
        *,
        strict: bool = False,
        also: Also | None = None,
    ) -> StoredEvent | Missing:
        """Return the stored event, or what must be here first.

        Args:
            room: its room.
            event: good in form and signature.
            manner: how it comes in; the events of a given state must be stored.
            strict: an event that would be rejected or soft-failed is not stored, only returned with that flag.
            also: runs in the same change as the commit.

        Raises:
            NotFoundError: this box does not hold the room.
            TooLargeError: merging states would take too much.
        """
        merges: dict[Merge, NamedState] = {}
        while True:
            found = await self._ledger.run(self._step, room, event, dict(merges), manner, strict=strict, also=also)
            if not isinstance(found, Unmerged):
                return found
            merges[found.merge] = await self._merge(event, found.merge, merges, manner.given)

    async def accept_run(self, room: RoomId, events: Sequence[tuple[Event, Manner]], also: AlsoOf | None = None) -> int:
        """Take in as many of the first events as need nothing fetched or merged; return how many, at most `RUN`.

        Raises:
            NotFoundError: this box does not hold the room.
        """
        return await self._ledger.run(self._run_step, room, events[:RUN], also)

    def _run_step(
        self, change: Change, room: RoomId, events: Sequence[tuple[Event, Manner]], also: AlsoOf | None
    ) -> int:
        for taken, (event, manner) in enumerate(events):
            held = graph.row(change, room)
            if held is None:
                raise NotFoundError("this room is not known here")
            decision = decide(change, held, event, {}, manner)
            if isinstance(decision, Missing | Unmerged):
                return taken
            if isinstance(decision, Decision):
                commit(change, held, decision, self._server)
            if also is not None:
                also(change, event)
        return len(events)

    def _step(
        self,
        change: Change,
        room: RoomId,
        event: Event,
        merges: dict[Merge, NamedState],
        manner: Manner,
        *,
        strict: bool,
        also: Also | None,
    ) -> StoredEvent | Missing | Unmerged:
        held = graph.row(change, room)
        if held is None:
            raise NotFoundError("this room is not known here")
        decision = decide(change, held, event, merges, manner)
        if isinstance(decision, Missing | Unmerged):
            return decision
        if isinstance(decision, Decision):
            if strict and decision.flags & (Flags.REJECTED | Flags.SOFT_FAILED):
                return StoredEvent(event, 0, decision.flags, None)
            number = commit(change, held, decision, self._server)
        else:
            assert isinstance(decision, Known)
            number = decision.number
        if also is not None:
            also(change)
        return graph.by_number(change, number)

    async def _merge(
        self, event: Event, merge: Merge, merges: dict[Merge, NamedState], given: NamedState | None
    ) -> NamedState:
        states = await self._ledger.read(_states, event, merge, merges, given)
        return await self._merger.merge(event.version, states, [event])


def _states(
    index: Index,
    event: Event,
    merge: Merge,
    merges: dict[Merge, NamedState],
    given: NamedState | None,
) -> list[NamedState]:
    states: list[NamedState] = []
    for event_id in sorted(merge):
        if event_id != event.event_id:
            states.append(state.state_after(index, event_id))
            continue
        after: dict[tuple[str, str], EventId] = dict(state_before(index, event, merges, given=given))
        if event.is_state:
            after[event.key] = event.event_id
        states.append(after)
    return states
