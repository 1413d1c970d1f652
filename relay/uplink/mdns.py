"""A multicast DNS responder for one interface: it makes sure of its names, tells of them, and answers. No I/O here.

Source: RFC 6762: sections 5.4 and 6.7 (unicast and legacy queries), 6 (answers, their delays and rates), 7.1 and 7.2
(known answers, also over several packets), 8.1 (probing), 8.2 (simultaneous probes), 8.3 (announcing), 9 (conflicts),
10.1 (goodbye), 21 (whoever is on the link may say anything: what it costs is bounded here).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Sequence

from relay.base.limits import MDNS_ANSWERS_BURST, MDNS_ANSWERS_PER_S, MDNS_TOKENS_BURST, MDNS_TOKENS_PER_S
from relay.base.token_bucket import TokenBucket
from relay.uplink.dns_message import (
    ANY,
    Message,
    Name,
    Question,
    Record,
    cost,
    lower,
    pack_message,
    read_message,
)
from relay.uplink.zone import Names, Service, Zone, make_zone

PORT = 5353
_PROBES, _PROBE_PAUSE_S = 3, 0.25
_ANNOUNCEMENTS, _ANNOUNCE_PAUSE_S = 2, 1.0
_LOST_TIE_PAUSE_S = 1.0
_MANY_CONFLICTS, _CONFLICT_PAUSE_S = 15, 5.0
_SHARED_DELAY_S = (0.02, 0.12)
_TRUNCATED_DELAY_S = (0.4, 0.5)
_LEAST_PAUSE_S = 1.0
_LEGACY_TTL_S = 10
_MOST_WAITING = 64

Address = tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Outgoing:
    """One datagram; `to` is None for the multicast group."""

    data: bytes
    to: Address | None = None


@dataclasses.dataclass(slots=True)
class _Waiting:
    """Answers that are sent a moment later, together, less what turns out to be known by then."""

    source: str
    due_s: float
    records: list[Record]


class Responder:
    """Speaks for one interface.

    Args:
        names: shared with the responders of other interfaces.
        own: all addresses of this machine: its other programs may speak for its host name, too.
        draw: randomness in [0, 1).
    """

    def __init__(
        self,
        names: Names,
        services: Sequence[Service],
        addresses: Sequence[str],
        now_s: float,
        *,
        draw: Callable[[], float],
        own: Collection[str] = (),
    ) -> None:
        self._names = names
        self._services = services
        self._addresses = tuple(addresses)
        self._own = frozenset(own)
        self._draw = draw
        self._conflicts = 0
        self._waiting: list[_Waiting] = []
        self._sent_s: dict[tuple[Name, int, bytes], float] = {}
        self._reading = TokenBucket(per_s=MDNS_TOKENS_PER_S, burst=MDNS_TOKENS_BURST, now_s=now_s)
        self._answering = TokenBucket(per_s=MDNS_ANSWERS_PER_S, burst=MDNS_ANSWERS_BURST, now_s=now_s)
        self._zone = make_zone(names, services, addresses)
        self._version = names.version
        self._begin_probing(now_s, draw() * _PROBE_PAUSE_S)

    @property
    def established(self) -> bool:
        """Whether the names are ours, as far as anybody on the link objects."""
        return not self._probing

    @property
    def _probing(self) -> bool:
        return self._probes_left > 0 or self._settling

    @property
    def due_s(self) -> float:
        """When `send` has something to say next."""
        if self._version != self._names.version:
            return -math.inf
        return min([self._next_s, *(waiting.due_s for waiting in self._waiting)])

    def send(self, now_s: float) -> list[Outgoing]:
        """Return the datagrams that are due."""
        if self._version != self._names.version:
            self._rename(now_s)
        out = []
        if self._next_s <= now_s:
            out.append(self._probe(now_s) if self._probes_left else self._announce(now_s))
        due = [waiting for waiting in self._waiting if waiting.due_s <= now_s]
        self._waiting = [waiting for waiting in self._waiting if waiting.due_s > now_s]
        records = self._unsaid((record for waiting in due for record in waiting.records), now_s)
        if records:
            out.append(self._multicast(records, now_s))
        return [datagram for datagram in out if datagram.data]

    def deaf_for_s(self, now_s: float) -> float:
        """Return how long nothing is to be given to `receive`: a flood is to cost the link's time, not the box's."""
        return self._reading.wait_s(now_s)

    def receive(self, data: bytes, source: Address, now_s: float) -> list[Outgoing]:
        """Take a datagram of the group; return what is answered at once.

        Raises:
            DnsMessageError: it is no DNS message; nothing changed.
        """
        self._reading.spend(cost(data), now_s)
        message = read_message(data)
        if message.response:
            if source[1] == PORT:
                self._compare((*message.answers, *message.additionals), source[0], now_s)
            return []
        if self._probing:
            self._break_tie(message, source[0], now_s)
            return []
        return self._answer(message, source, now_s)

    def set_addresses(self, addresses: Sequence[str], own: Collection[str], now_s: float) -> None:
        """Tell of other addresses from now on (section 8.4)."""
        self._own = frozenset(own)
        if tuple(addresses) != self._addresses:
            self._addresses = tuple(addresses)
            self._zone = make_zone(self._names, self._services, addresses)
            if not self._probing:
                self._announcements_left, self._next_s = _ANNOUNCEMENTS, now_s

    def goodbye(self) -> bytes:
        """Return the datagram that takes everything back, empty if nothing was said."""
        if not self.established:
            return b""
        records = [dataclasses.replace(record, ttl_s=0) for record in (*self._zone.shared, *self._zone.unique)]
        return pack_message(Message(response=True, answers=tuple(_once(records))))

    # probing and announcing

    def _begin_probing(self, now_s: float, delay_s: float) -> None:
        self._probes_left, self._announcements_left, self._settling = _PROBES, _ANNOUNCEMENTS, False
        self._next_s = now_s + delay_s
        self._waiting.clear()

    def _probe(self, now_s: float) -> Outgoing:
        self._probes_left -= 1
        self._next_s = now_s + _PROBE_PAUSE_S
        # Not with the QU bit: a unicast answer could reach another responder of this machine (section 15.1).
        questions = tuple(Question(name, ANY) for name in (self._zone.host, *self._zone.instances))
        proposed = tuple(dataclasses.replace(record, flush=False) for record in self._zone.unique)
        # 250 ms after the last probe the names are ours.
        self._settling = not self._probes_left
        return Outgoing(pack_message(Message(questions=questions, authorities=proposed)))

    def _announce(self, now_s: float) -> Outgoing:
        self._settling = False
        self._announcements_left -= 1
        self._next_s = now_s + _ANNOUNCE_PAUSE_S if self._announcements_left > 0 else math.inf
        return self._multicast(_once((*self._zone.shared, *self._zone.unique)), now_s)

    def _multicast(self, records: Sequence[Record], now_s: float) -> Outgoing:
        for record in records:
            self._sent_s[record.same] = now_s
        return Outgoing(pack_message(Message(response=True, answers=tuple(records), additionals=self._beside(records))))

    # conflicts

    def _rename(self, now_s: float) -> None:
        """Follow the names, changed here or on another interface, and make sure of them again."""
        self._version = self._names.version
        self._zone = make_zone(self._names, self._services, self._addresses)
        self._sent_s.clear()
        self._begin_probing(now_s, _CONFLICT_PAUSE_S if self._conflicts > _MANY_CONFLICTS else 0.0)

    def _compare(self, records: Iterable[Record], source: str, now_s: float) -> None:
        """Look for others' records under our names: while probing, the name is theirs; later it is probed for again."""
        if self._probes_left == _PROBES or self._version != self._names.version:
            # Nobody can have answered what was not asked yet (section 8.1), or is about names that are given up.
            return
        ours = {record.same for record in self._zone.unique}
        kinds = {(lower(record.name), record.kind) for record in self._zone.unique}
        for record in records:
            if record.same in ours or not record.ttl_s:
                continue
            host = lower(record.name) == lower(self._zone.host)
            instance = lower(record.name) in map(lower, self._zone.instances)
            if not (host and source not in self._own) and not instance:
                continue
            if self._probing:
                self._conflicts += 1
                (self._names.change_host if host else self._names.change_instance)()
                return
            if (lower(record.name), record.kind) in kinds:
                self._begin_probing(now_s, 0.0)
                return

    def _break_tie(self, message: Message, source: str, now_s: float) -> None:
        """Give way for a second if whoever probes for our names at this very moment has the greater records."""
        asked = {lower(question.name) for question in message.questions}
        for name in (self._zone.host, *self._zone.instances):
            if lower(name) not in asked or (name == self._zone.host and source in self._own):
                continue
            theirs = _ordered(message.authorities, name)
            if theirs and theirs > _ordered(self._zone.unique, name):
                self._begin_probing(now_s, _LOST_TIE_PAUSE_S)
                return

    # answering

    def _answer(self, message: Message, source: Address, now_s: float) -> list[Outgoing]:
        known = {record.same: record.ttl_s for record in message.answers}
        self._forget_known(source[0], known, now_s, more=message.truncated)
        asked = [(question, self._zone.answers(question.name, question.kind)) for question in message.questions]
        # A name is defended whatever else is asked; that is bounded by the pauses below.
        if any(found for _, found in asked) and not message.authorities and not self._answering.take(now_s):
            return []
        if source[1] != PORT:
            return self._answer_legacy(message, [record for _, found in asked for record in found], source)
        at_once: list[Record] = []
        later: list[Record] = []
        alone: list[Record] = []
        for question, found in asked:
            fresh = [record for record in found if known.get(record.same, -1) < record.ttl_s / 2]
            # Unicast serves one; who else listens needs the record by multicast now and then (section 5.4).
            to_one = [record for record in fresh if question.unicast and self._is_recent(record, now_s)]
            alone += to_one
            for record in fresh:
                if record not in to_one:
                    (at_once if record.flush and not message.truncated else later).append(record)
        if later:
            low, high = _TRUNCATED_DELAY_S if message.truncated else _SHARED_DELAY_S
            self._wait(source[0], now_s + low + (high - low) * self._draw(), later)
        out = []
        if alone:
            answers = tuple(_once(alone))
            reply = Message(response=True, answers=answers, additionals=self._beside(answers))
            out.append(Outgoing(pack_message(reply), source))
        # Whoever probes is answered again after 250 ms already, or would take the name (section 6).
        pause_s = _PROBE_PAUSE_S if message.authorities else _LEAST_PAUSE_S
        if records := self._unsaid(at_once, now_s, pause_s):
            out.append(self._multicast(records, now_s))
        return out

    def _answer_legacy(self, query: Message, found: Sequence[Record], source: Address) -> list[Outgoing]:
        """Answer a resolver that knows nothing of multicast as a name server would (section 6.7)."""
        if not found:
            return []
        answers, beside = (
            tuple(dataclasses.replace(each, ttl_s=min(each.ttl_s, _LEGACY_TTL_S), flush=False) for each in records)
            for records in (_once(found), self._beside(found))
        )
        questions = tuple(question._replace(unicast=False) for question in query.questions)
        reply = Message(response=True, number=query.number, questions=questions, answers=answers, additionals=beside)
        return [Outgoing(pack_message(reply), source)]

    def _wait(self, source: str, due_s: float, records: list[Record]) -> None:
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(_Waiting(source, due_s, records))

    def _forget_known(
        self, source: str, known: dict[tuple[Name, int, bytes], int], now_s: float, *, more: bool
    ) -> None:
        """Drop from what waits for `source` the answers that it turns out to know; wait on while it tells more."""
        for waiting in self._waiting:
            if waiting.source == source:
                waiting.records = [each for each in waiting.records if known.get(each.same, -1) < each.ttl_s / 2]
                if more:
                    waiting.due_s = max(waiting.due_s, now_s + _TRUNCATED_DELAY_S[0])

    def _is_recent(self, record: Record, now_s: float) -> bool:
        return now_s - self._sent_s.get(record.same, -math.inf) < record.ttl_s / 4

    def _unsaid(self, records: Iterable[Record], now_s: float, pause_s: float = _LEAST_PAUSE_S) -> list[Record]:
        """Return each record once, without those that everybody heard a moment ago."""
        return [each for each in _once(records) if now_s - self._sent_s.get(each.same, -math.inf) >= pause_s]

    def _beside(self, records: Sequence[Record]) -> tuple[Record, ...]:
        said = {record.same for record in records}
        more = (other for record in records for other in self._zone.beside(record))
        return tuple(_once(other for other in more if other.same not in said))

    @property
    def zone(self) -> Zone:
        """What is told at present."""
        return self._zone


def _once(records: Iterable[Record]) -> list[Record]:
    return list({record.same: record for record in records}.values())


def _ordered(records: Iterable[Record], name: Name) -> list[tuple[int, bytes]]:
    """Return the records of a name as they are compared: by kind, then by rdata (section 8.2.1)."""
    return sorted((record.kind, record.data) for record in records if lower(record.name) == lower(name))
