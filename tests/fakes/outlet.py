"""Peers at the other end of an outbox."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from relay.base.errors import PeerRefusedError, UnreachableError
from relay.base.ids import ServerName

Json = dict[str, Any]


@dataclass
class SleepingPeer:
    """A server that is off until `asleep_until_s` (Trio time); no transaction id may come to it with other content."""

    asleep_until_s: float = 0.0
    slow_s: float = 0.0
    refuse: Callable[[list[Json], list[Json]], int | None] = lambda _pdus, _edus: None
    transactions: list[tuple[str, list[Json], list[Json]]] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)
    _seen: dict[str, Json] = field(default_factory=dict)

    async def send(self, transaction_id: str, pdus: Sequence[Json], edus: Sequence[Json]) -> Json:
        self.attempts.append(trio.current_time())
        await trio.sleep(self.slow_s)
        if trio.current_time() < self.asleep_until_s:
            raise UnreachableError("asleep")
        status = self.refuse(list(pdus), list(edus))
        if status is not None:
            raise PeerRefusedError("no", status=status)
        content = {"pdus": list(pdus), "edus": list(edus)}
        assert self._seen.setdefault(transaction_id, content) == content, "a transaction id with other content"
        self.transactions.append((transaction_id, list(pdus), list(edus)))
        return {"pdus": {}}

    @property
    def events(self) -> list[Any]:
        """What arrived in transactions that are counted once each."""
        seen: set[str] = set()
        found: list[Any] = []
        for transaction_id, pdus, _ in self.transactions:
            if transaction_id not in seen:
                found += [pdu["n"] for pdu in pdus]
            seen.add(transaction_id)
        return found

    @property
    def edus(self) -> list[Json]:
        return [edu for _, _, edus in self.transactions for edu in edus]


class FakeOutlet:
    """An `Outlet` onto named peers; others are nowhere."""

    def __init__(self, **peers: SleepingPeer) -> None:
        self.peers = {ServerName(f"{name}.example"): peer for name, peer in peers.items()}

    async def send(
        self, destination: ServerName, transaction_id: str, pdus: Sequence[Json], edus: Sequence[Json], made_ms: int
    ) -> Json:
        assert made_ms
        peer = self.peers.get(destination)
        if peer is None:
            raise UnreachableError("nowhere")
        return await peer.send(transaction_id, pdus, edus)
