import dataclasses
from collections.abc import Iterable, Mapping

import pytest

from relay.base.ids import EventId
from relay.core.matrix.events import Event, StateKey
from relay.core.matrix.room_versions import room_version
from relay.core.matrix.state_resolution import resolve
from tests.unit.core.matrix.random_rooms import RandomRoom
from tests.unit.core.matrix.rooms import ALICE, BOB, Room

MOD = "@mod:home"
TOPIC = ("m.room.topic", "")
State = Mapping[StateKey, Event]


class Fork:
    """A room with Bob (0) and Mod (50), and two branches that grow from one point."""

    def __init__(self, version: str) -> None:
        self.room = room = Room(version)
        self.known: dict[EventId, Event] = {}
        users = {MOD: 50} if version == "12" else {MOD: 50, ALICE: 100}
        room.add(room.make("m.room.join_rules", {"join_rule": "public"}, state_key=""))
        room.add(room.make("m.room.power_levels", {"users": users}, state_key=""))
        room.add(room.member(BOB, "join"))
        room.add(room.member(MOD, "join"))
        self.root, self.root_last = dict(room.state), room.last
        self._remember()

    def _remember(self) -> None:
        self.known.update((event.event_id, event) for event in self.room.state.values())

    def branch(self, *steps: tuple[str, str, str, dict[str, object]]) -> dict[StateKey, Event]:
        """Return the state after (sender, type, state key, content) steps from the root."""
        self.room.state, self.room.last = dict(self.root), self.root_last
        for sender, kind, key, content in steps:
            event = self.room.add(self.room.make(kind, content, state_key=key, sender=sender))
            self.known[event.event_id] = event
        return dict(self.room.state)

    def source(self, ids: Iterable[EventId]) -> dict[EventId, Event]:
        return {event_id: self.known[event_id] for event_id in ids if event_id in self.known}

    def resolved(self, *states: State) -> dict[StateKey, Event]:
        sets = [{key: event.event_id for key, event in state.items()} for state in states]
        forward = resolve(self.room.version, sets, self.source)
        assert resolve(self.room.version, sets[::-1], self.source) == forward
        return {key: self.known[event_id] for key, event_id in forward.items()}


@pytest.fixture(params=["10", "11", "12"])
def fork(request: pytest.FixtureRequest) -> Fork:
    return Fork(request.param)


def test_a_ban_wins_over_what_the_banned_did_meanwhile(fork: Fork) -> None:
    ban = fork.branch((ALICE, "m.room.member", MOD, {"membership": "ban"}))
    topic = fork.branch((MOD, "m.room.topic", "", {"topic": "mine"}))
    resolved = fork.resolved(ban, topic)
    assert resolved["m.room.member", MOD].content["membership"] == "ban"
    assert TOPIC not in resolved


def test_of_two_topics_the_later_one_stays(fork: Fork) -> None:
    first = fork.branch((ALICE, "m.room.topic", "", {"topic": "first"}))
    second = fork.branch((MOD, "m.room.topic", "", {"topic": "second"}))
    assert fork.resolved(first, second)[TOPIC].content["topic"] == "second"


def test_who_was_demoted_meanwhile_changes_nothing(fork: Fork) -> None:
    users = {} if fork.room.version.creators_are_supreme else {ALICE: 100}
    demoted = fork.branch((ALICE, "m.room.power_levels", "", {"users": users}))
    changed = fork.branch((MOD, "m.room.topic", "", {"topic": "mine"}), (MOD, "m.room.name", "", {"name": "mine"}))
    resolved = fork.resolved(demoted, changed)
    assert TOPIC not in resolved
    assert resolved["m.room.power_levels", ""].content == {"users": users}


def test_the_stronger_sender_goes_first_when_two_change_power(fork: Fork) -> None:
    levels = dict(fork.root["m.room.power_levels", ""].content)
    by_mod = fork.branch((MOD, "m.room.power_levels", "", {**levels, "invite": 50}))
    by_alice = fork.branch((ALICE, "m.room.power_levels", "", {**levels, "events": {"m.room.power_levels": 60}}))
    assert fork.resolved(by_mod, by_alice)["m.room.power_levels", ""].sender == ALICE


def test_what_stands_in_one_branch_only_is_kept(fork: Fork) -> None:
    first = fork.branch((ALICE, "m.room.topic", "", {"topic": "tea"}))
    second = fork.branch((MOD, "m.room.name", "", {"name": "house"}))
    resolved = fork.resolved(first, second)
    assert resolved[TOPIC].content["topic"] == "tea"
    assert resolved["m.room.name", ""].content["name"] == "house"
    assert all(resolved[key] is event for key, event in fork.root.items())


def test_three_branches_resolve_together(fork: Fork) -> None:
    states = [fork.branch((ALICE, "m.room.topic", "", {"topic": text})) for text in ("one", "two", "three")]
    assert fork.resolved(*states)[TOPIC].content["topic"] == "three"


def test_one_state_or_equal_states_need_no_event_at_all(fork: Fork) -> None:
    state = {key: event.event_id for key, event in fork.root.items()}

    def never(_ids: Iterable[EventId]) -> dict[EventId, Event]:
        raise AssertionError

    assert resolve(fork.room.version, [state], never) == state
    assert resolve(fork.room.version, [state, dict(state), state], never) == state
    assert resolve(fork.room.version, [], never) == {}


def test_events_that_nobody_has_or_that_were_rejected_do_not_get_into_the_state(fork: Fork) -> None:
    first = fork.branch((ALICE, "m.room.topic", "", {"topic": "first"}))
    second = fork.branch((MOD, "m.room.topic", "", {"topic": "second"}))
    second[TOPIC].rejected = True
    assert fork.resolved(first, second)[TOPIC] is first[TOPIC]
    second[TOPIC].rejected = False
    del fork.known[second[TOPIC].event_id]
    assert fork.resolved(first, second)[TOPIC] is first[TOPIC]


def test_a_message_cited_as_if_it_were_state_is_no_power_event(fork: Fork) -> None:
    message = fork.room.message("hello")
    fork.known[message.event_id] = message
    topic = fork.room.make("m.room.topic", {"topic": "x"}, state_key="", auth_events=[message.event_id])
    fork.known[topic.event_id] = topic
    # Before version 12 the settled state vouches for the topic, whatever it cites.
    resolved = fork.resolved({**fork.root, TOPIC: topic}, fork.root)
    assert (TOPIC in resolved) == (fork.room.version.id != "12")


def test_what_the_settled_state_rests_on_is_not_replayed(fork: Fork) -> None:
    """Bob joined, was banned on both sides, and only his own topic still cites the join."""
    mine = fork.branch((MOD, "m.room.topic", "", {"topic": "mine"}))
    fork.root = dict(mine)
    fork.root_last = fork.room.last
    levels = {**fork.root["m.room.power_levels", ""].content, "events": {"m.room.topic": 0}}
    fork.root = fork.branch((ALICE, "m.room.power_levels", "", levels))
    fork.root_last = fork.room.last
    by_bob = fork.branch((BOB, "m.room.topic", "", {"topic": "bob's"}))
    banned = fork.branch((ALICE, "m.room.member", BOB, {"membership": "ban"}))["m.room.member", BOB]
    resolved = fork.resolved({**by_bob, banned.key: banned}, {**fork.root, banned.key: banned})
    # From version 12 on the settled ban does not stand in the state that the replay starts from.
    assert resolved[TOPIC].sender == (BOB if fork.room.version.resolves_from_empty else MOD)
    assert resolved[banned.key] is banned


@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_random_forks_resolve_to_one_state_in_any_order(version: str) -> None:
    room = RandomRoom(room_version(version), "order")
    room.grow(40)
    nodes = list(room.state_after)
    for start in range(0, len(nodes) - 3, 5):
        sets = [room.state_after[node] for node in nodes[start : start + 3]]
        resolved = resolve(room.version, sets, room.known)
        assert resolve(room.version, sets[::-1], room.known) == resolved
        assert resolve(room.version, [*sets, sets[0]], room.known) == resolved
        common = set(sets[0].items()).intersection(*(state.items() for state in sets))
        assert common <= resolved.items()


def test_version_12_replays_from_the_empty_state() -> None:
    rules = room_version("12")
    older = dataclasses.replace(rules, resolves_from_empty=False)
    room = RandomRoom(rules, "reset/22")
    room.grow(50)
    nodes = list(room.state_after)
    pairs = [[room.state_after[old], room.state_after[new]] for old in nodes[::3] for new in nodes[1::3]]
    assert any(resolve(rules, sets, room.known) != resolve(older, sets, room.known) for sets in pairs)
