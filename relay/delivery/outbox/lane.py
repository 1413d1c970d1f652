"""What the outboxes know in memory of one destination they are busy with."""

from collections import deque
from dataclasses import dataclass, field

import trio

from relay.base.ids import ServerName
from relay.base.limits import MAX_LANE_EVENTS, MAX_TRANSACTION_EDUS, MAX_TRANSACTION_PDUS
from relay.delivery.outbox.queue import Batch, Flight, Json


@dataclass(slots=True)
class Lane:
    """One destination at work.

    Attributes:
        cursor: every departure up to this one has arrived.
        live: `fresh` holds every event after `cursor`; otherwise the ledger has to be asked.
        seen: what the dispatcher hands over up to this departure is known already.
        rows: whether rows wait in the ledger.
        volatile: EDUs that are not worth a write, newest of each key.
        landed: a transaction that arrived and is not noted yet.
        greeting: whether the peer is to hear from us even if nothing waits for it.
        recorded: the transaction that the ledger knows to be under way.
        hopes: how often the peer spoke to us and then did not answer us.
    """

    server: ServerName
    cursor: int
    live: bool
    seen: int
    fresh: deque[tuple[int, Json]] = field(default_factory=deque)
    rows: bool = False
    volatile: dict[tuple[str, ...], Json] = field(default_factory=dict)
    flight: Flight | None = None
    landed: Flight | None = None
    greeting: bool = False
    attempted: trio.Event = field(default_factory=trio.Event)
    recorded: str = ""
    failures: int = 0
    refusals: int = 0
    hopes: int = 0
    failing_since_ms: int | None = None
    waited_from_s: float | None = None
    heard: trio.Event = field(default_factory=trio.Event)

    def offer(self, events: list[tuple[int, Json]]) -> None:
        """Take what the dispatcher found for this destination, if nothing before it is missing."""
        if not self.live:
            return
        self.fresh.extend(event for event in events if event[0] > self.seen)
        if len(self.fresh) > MAX_LANE_EVENTS:
            self.lose_track()

    def lose_track(self) -> None:
        """Keep nothing in memory: what waits is read from the ledger when its turn comes."""
        self.live = False
        self.fresh.clear()

    def follow(self, batch: Batch, dispatched: int) -> None:
        """Note what was read from the ledger: with nothing left there, the dispatcher's word is enough from now on."""
        self.seen = max(self.seen, batch.events_to)
        while self.fresh and self.fresh[0][0] <= batch.events_to:
            self.fresh.popleft()
        self.rows = self.rows or batch.more
        if not batch.more and batch.events_to >= dispatched:
            self.live = True

    def take_fresh(self) -> Batch:
        """Return the next batch out of memory."""
        taken = [self.fresh.popleft() for _ in range(min(len(self.fresh), MAX_TRANSACTION_PDUS))]
        return Batch([pdu for _, pdu in taken], [], taken[-1][0] if taken else self.cursor, more=bool(self.fresh))

    def put_volatile(self, key: tuple[str, ...], edu: Json) -> None:
        """Let an EDU wait in memory, in place of an older one of the same key."""
        if self.failures and edu["edu_type"] == "m.typing":
            return
        self.volatile.pop(key, None)
        self.volatile[key] = edu
        if len(self.volatile) > MAX_TRANSACTION_EDUS:
            self.volatile.pop(next(iter(self.volatile)))

    def take_volatile(self) -> dict[tuple[str, ...], Json]:
        """Return the EDUs that wait in memory, oldest first."""
        taken, self.volatile = self.volatile, {}
        return taken

    def put_back(self, edus: dict[tuple[str, ...], Json]) -> None:
        """Let EDUs that did not arrive wait again, except where a newer one waits already."""
        self.volatile = {**edus, **self.volatile}

    def forget_typing(self) -> None:
        """Forget who types: by the time a silent peer is back it is no longer so."""
        self.volatile = {key: edu for key, edu in self.volatile.items() if edu["edu_type"] != "m.typing"}

    @property
    def idle(self) -> bool:
        """Whether nothing at all is left to do."""
        return (
            self.live
            and not self.fresh
            and not self.rows
            and not self.volatile
            and self.flight is None
            and not self.greeting
        )
