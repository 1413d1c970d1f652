"""Random rooms with forks and foul play, the same for the same seed, for comparing two judges of events."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from relay.base.ids import EventId, KeyId, RoomId, ServerName, UserId
from relay.core.matrix import authorization, building, signing, unpadded_base64
from relay.core.matrix.authorization import EventShape, NotAllowedError
from relay.core.matrix.events import Event, StateKey, parse_pdu
from relay.core.matrix.room_versions import RoomVersion
from relay.core.matrix.rule_parts import membership_of
from relay.core.matrix.state_resolution import resolve

T = TypeVar("T")
USERS = ["@alice:home", "@bob:home", "@carol:away", "@dave:away", "@eve:third"]
LEVELS = [0, 0, 10, 25, 49, 50, 50, 51, 75, 99, 100, 100, 101, -1, 2**53 - 1]
JUNK: list[Any] = [None, True, "50", "", [], {}, {"a": 1}, ["@alice:home"], 7, "@nobody"]
INVITE_KEY = signing.SigningKey(KeyId("ed25519:0"), b"3" * 32)


class Dice:
    """Numbers that a seed decides."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._rolls = 0

    def below(self, limit: int) -> int:
        """Return 0 to limit - 1."""
        self._rolls += 1
        digest = hashlib.sha256(f"{self._seed}/{self._rolls}".encode()).digest()
        return int.from_bytes(digest[:6]) % limit

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]

    def chance(self, percent: int) -> bool:
        """Return True that often."""
        return self.below(100) < percent


@dataclasses.dataclass
class Judged:
    """One event, what it was judged by, and our three verdicts."""

    event: Event
    cited: list[Event]
    before: dict[StateKey, Event]
    citations_ok: bool
    allowed_by_cited: bool
    allowed_before: bool


class RandomRoom:
    """Grows a room event by event: `judged` has every attempt, `state_after` the state after each node.

    `forking` is how often, in percent, an event stands on older nodes than the newest.
    """

    def __init__(self, version: RoomVersion, seed: str, *, forking: int = 30) -> None:
        self.version = version
        self._forking = forking
        self.dice = Dice(f"{version.id}/{seed}")
        self.events: dict[EventId, Event] = {}
        self.state_after: dict[EventId, dict[StateKey, EventId]] = {}
        self.judged: list[Judged] = []
        self.room_id: RoomId | None = None if version.room_id_is_hash else RoomId("!room:home")
        content: dict[str, Any] = {"room_version": version.id, "creator": USERS[0]}
        if self.dice.chance(15):
            content["m.federate"] = self.dice.pick([False, True, "no", None])
        if self.dice.chance(30):
            content["additional_creators"] = self.dice.pick([[], ["@carol:away"], ["@bob:home", "@dave:away"]])
        create = self._build(USERS[0], "m.room.create", content, "", [], [], 1)
        self.room_id = create.room_id
        self._keep(create, {})
        self._attempt(USERS[0], "m.room.member", {"membership": "join"}, USERS[0], [create.event_id])
        self._start()

    def _start(self) -> None:
        """Most rooms begin with power levels and a join rule; some do not."""
        if self.dice.chance(85):
            users = {} if self.version.creators_are_supreme else {USERS[0]: 100}
            self._attempt(USERS[0], "m.room.power_levels", {"users": users}, "", [self._newest()])
        if self.dice.chance(85):
            rule = {"join_rule": self.dice.pick(["public", "public", "restricted", "knock_restricted", "invite"])}
            self._attempt(USERS[0], "m.room.join_rules", rule, "", [self._newest()])

    def grow(self, steps: int) -> None:
        """Try that many more events."""
        for _ in range(steps):
            kind, content, state_key, sender = self.dice.pick(_ACTIONS)(self.dice)
            if kind == "m.room.power_levels" and self.version.creators_are_supreme and self.dice.chance(95):
                content["users"] = {user: level for user, level in content["users"].items() if user != USERS[0]}
            if self.dice.chance(75) and content.get("membership") not in ("join", "knock"):
                sender = self.dice.pick(self._joined()) if self._joined() else sender
            if not self.version.integer_levels and kind == "m.room.power_levels":
                # What cannot be read as a level makes Synapse stumble for the rest of such a room's life.
                content = {name: self._as_text(level) for name, level in content.items()}
            elif self.dice.chance(3):
                content = {**content, self.dice.pick(list(content) or ["x"]): self.dice.pick(JUNK)}
            self._attempt(sender, kind, content, state_key, self._parents())

    def _as_text(self, level: Any) -> Any:
        """Write levels, now and then, as strings of digits."""
        if isinstance(level, dict):
            return {name: self._as_text(inner) for name, inner in level.items()}
        return f" {level:+d}" if self.dice.chance(20) else level

    def _joined(self) -> list[str]:
        state = {key: self.events[event_id] for key, event_id in self.state_after[self._newest()].items()}
        return [user for user in USERS if membership_of(state, user) == "join"]

    def _newest(self) -> EventId:
        return list(self.state_after)[-1]

    def _parents(self) -> list[EventId]:
        nodes = list(self.state_after)
        if not self.dice.chance(self._forking):
            return nodes[-1:]
        recent = nodes[-(3 + self.dice.below(12)) :]
        return sorted({self.dice.pick(recent) for _ in range(1 + self.dice.below(3))})

    def _attempt(
        self, sender: str, kind: str, content: dict[str, Any], state_key: str | None, parents: list[EventId]
    ) -> None:
        before_ids = resolve(self.version, [self.state_after[parent] for parent in parents], self.known)
        before = {key: self.events[event_id] for key, event_id in before_ids.items()}
        keys = authorization.auth_types(EventShape(kind, sender, state_key, content), self.version)
        cited = [before[key] for key in sorted(keys) if key in before]
        if cited and self.dice.chance(8):
            cited = self._tampered(cited)
        ids = [event.event_id for event in cited]
        depth = 1 + max(self.events[parent].depth for parent in parents)
        event = self._build(sender, kind, content, state_key, ids, parents, depth)
        create = self.events[next(iter(self.events))]
        by_cited = {(cited_event.type, cited_event.state_key or ""): cited_event for cited_event in cited}
        if self.version.room_id_is_hash:
            by_cited[("m.room.create", "")] = create
        verdict = Judged(
            event,
            cited,
            before,
            _passes(lambda: authorization.check_auth_events(event, cited)),
            _passes(lambda: authorization.authorize(event, by_cited)),
            _passes(lambda: authorization.authorize(event, before)),
        )
        self.judged.append(verdict)
        if verdict.citations_ok and verdict.allowed_by_cited and verdict.allowed_before:
            self._keep(event, before_ids)
        elif self.dice.chance(30):
            event.rejected = True
            self.events[event.event_id] = event

    def _tampered(self, cited: list[Event]) -> list[Event]:
        # From version 12 on an event that names the create event has not even the form of an event.
        skip = 1 if self.version.room_id_is_hash else 0
        others = [event for event in list(self.events.values())[skip:] if event.is_state] or cited
        match self.dice.below(3):
            case 0:
                return cited[1:]
            case 1:
                return [*cited, self.dice.pick(others)]
            case _:
                return [*cited[:-1], self.dice.pick(others)]

    def _keep(self, event: Event, before: Mapping[StateKey, EventId]) -> None:
        self.events[event.event_id] = event
        self.state_after[event.event_id] = {**before, **({event.key: event.event_id} if event.is_state else {})}

    def known(self, ids: Any) -> dict[EventId, Event]:
        """Return those of the events that exist here."""
        return {event_id: self.events[event_id] for event_id in ids if event_id in self.events}

    def _build(
        self,
        sender: str,
        kind: str,
        content: dict[str, Any],
        state_key: str | None,
        cited: list[EventId],
        parents: list[EventId],
        depth: int,
    ) -> Event:
        raw = building.draft(
            self.version,
            room_id=self.room_id,
            sender=UserId(sender),
            event_type=kind,
            content=content,
            state_key=state_key,
            prev_events=parents,
            auth_events=cited[:10],
            depth=depth,
            # Few different times, so that ties are broken by the event id.
            origin_server_ts=1000 + self.dice.below(6),
        )
        raw["hashes"] = {"sha256": "AAAA"}
        # Both judges take signatures for checked; all servers "signed", so that a voucher's is there as well.
        raw["signatures"] = {user.partition(":")[2]: {"ed25519:x": "AAAA"} for user in USERS}
        return parse_pdu(raw, self.version)


Action = tuple[str, dict[str, Any], str | None, str]


def _passes(check: Callable[[], None]) -> bool:
    try:
        check()
    except NotAllowedError:
        return False
    return True


def _member(dice: Dice) -> Action:
    membership = dice.pick(["join", "join", "join", "invite", "invite", "leave", "leave", "ban", "knock", "odd"])
    target = dice.pick(USERS if membership == "join" or dice.chance(5) else USERS[1:])
    sender = target if membership in ("join", "knock") and dice.chance(92) else dice.pick([*USERS[:3], *USERS])
    content: dict[str, Any] = {"membership": membership}
    if membership == "join" and dice.chance(30):
        content["join_authorised_via_users_server"] = dice.pick([*USERS, "@ghost:home"])
    if membership == "invite" and dice.chance(25):
        content["third_party_invite"] = _third_party(dice, target)
    return "m.room.member", content, target, sender


def _third_party(dice: Dice, target: str) -> Any:
    signed: dict[str, Any] = {"mxid": target, "token": dice.pick(["t1", "t2"])}
    signed = signing.sign_json(signed, ServerName("id.server"), INVITE_KEY)
    if dice.chance(25):
        signed[dice.pick(["mxid", "token", "signatures"])] = dice.pick(
            ["@eve:third", "t2", {}, {"a": {"ed25519:0": "A"}}]
        )
    return dice.pick([{"display_name": "x", "signed": signed}] * 8 + [{}, {"signed": {}}])


def _promise(dice: Dice) -> Action:
    key = unpadded_base64.encode(INVITE_KEY.public)
    contents: list[dict[str, Any]] = [
        {"public_key": key},
        {"public_keys": [{"public_key": key}]},
        {"public_key": "A" * 43},
        {},
    ]
    return "m.room.third_party_invite", dict(dice.pick(contents)), dice.pick(["t1", "t2"]), dice.pick(USERS)


def _levels(dice: Dice) -> Action:
    content: dict[str, Any] = {}
    for name in ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"):
        if dice.chance(20):
            content[name] = dice.pick(LEVELS[:12])
    # The first user usually stays in power: rooms that nobody can change any more are dull.
    users = {user: dice.pick(LEVELS) for user in USERS[1:] if dice.chance(35)}
    content["users"] = {USERS[0]: 100, **users} if dice.chance(90) else users
    if dice.chance(40):
        content["events"] = {dice.pick(["m.room.topic", "m.room.name", "odd"]): dice.pick(LEVELS)}
    if dice.chance(25):
        content["notifications"] = {"room": dice.pick(LEVELS)}
    if dice.chance(4):
        content["users"] = {dice.pick(["bob", "@x", "@a:b c"]): 0}
    return "m.room.power_levels", content, "", dice.pick([USERS[0], USERS[0], *USERS])


def _join_rules(dice: Dice) -> Action:
    rule = dice.pick(["public", "public", "invite", "knock", "restricted", "knock_restricted", "private"])
    return "m.room.join_rules", {"join_rule": rule}, "", dice.pick(USERS[:3])


def _state(dice: Dice) -> Action:
    key = dice.pick(["", "", "other", "@bob:home", "@carol:away"])
    kind = dice.pick(["m.room.topic", "m.room.name", "odd", "m.room.aliases"])
    return kind, {"topic": str(dice.below(1000))}, key, dice.pick(USERS)


def _message(dice: Dice) -> Action:
    kind = dice.pick(["m.room.message", "odd", "m.room.redaction"])
    return kind, {"body": str(dice.below(1000))}, None, dice.pick(USERS)


_ACTIONS: list[Callable[[Dice], Action]] = [
    *([_member] * 9),
    *([_levels] * 3),
    *([_state] * 3),
    *([_message] * 2),
    _join_rules,
    _promise,
]
