import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.ids import EventId
from relay.core.matrix.authorization import EventShape, NotAllowedError, auth_types, authorize, check_auth_events
from relay.core.matrix.events import Event, stored_event
from relay.core.matrix.signing import required_signers
from tests.unit.core.matrix.rooms import ALICE, BOB, Room
from tests.unit.core.matrix.test_canonical_json import JSON

VERSIONS = ["10", "11", "12"]
CREATE, LEVELS, RULES = ("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", "")


@pytest.fixture(params=VERSIONS)
def room(request: pytest.FixtureRequest) -> Room:
    return Room(request.param)


def refused(room: Room, event: Event) -> str:
    with pytest.raises(NotAllowedError) as caught:
        authorize(event, room.state)
    return str(caught.value)


def open_room(room: Room) -> None:
    room.add(room.make("m.room.join_rules", {"join_rule": "public"}, state_key=""))


def member(user: str) -> tuple[str, str]:
    return ("m.room.member", user)


# Server-Server API, "Auth events selection".
def test_a_message_cites_creation_power_and_the_sender() -> None:
    shape = EventShape("m.room.message", BOB, None, {})
    assert auth_types(shape, Room("11").version) == {CREATE, LEVELS, member(BOB)}
    assert auth_types(shape, Room("12").version) == {LEVELS, member(BOB)}
    assert auth_types(EventShape("m.room.create", BOB, "", {}), Room("11").version) == set()


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ({"membership": "join"}, {RULES}),
        ({"membership": "knock"}, {RULES}),
        ({"membership": "leave"}, set()),
        ({"membership": "ban"}, set()),
        ({"membership": "invite"}, {RULES}),
        (
            {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}},
            {RULES, ("m.room.third_party_invite", "t")},
        ),
        ({"membership": "join", "join_authorised_via_users_server": "@c:d"}, {RULES, member("@c:d")}),
        ({"membership": "leave", "join_authorised_via_users_server": "@c:d"}, set()),
        ({"membership": "invite", "third_party_invite": {"signed": {"token": 5}}}, {RULES}),
        ({"membership": "invite", "third_party_invite": {"signed": 5}}, {RULES}),
        ({"membership": "invite", "third_party_invite": 5}, {RULES}),
        ({"membership": []}, set()),
        ({}, set()),
    ],
)
def test_a_change_of_membership_cites_what_decides_it(content: Any, more: set[Any]) -> None:
    shape = EventShape("m.room.member", ALICE, BOB, content)
    assert auth_types(shape, Room("12").version) == {LEVELS, member(ALICE), member(BOB)} | more


@pytest.mark.parametrize(
    ("version", "change"),
    [
        ("10", {"creator": None}),
        ("10", {"room_version": "99"}),
        ("11", {"room_version": 11}),
        ("11", {"room_version": []}),
        ("12", {"additional_creators": "@a:b"}),
        ("12", {"additional_creators": ["@a:b", 5]}),
        ("12", {"additional_creators": ["alice"]}),
        ("12", {"additional_creators": ["@" + "a" * 255 + ":b"]}),
    ],
)
def test_a_create_event_with_odd_content_is_refused(version: str, change: dict[str, Any]) -> None:
    good = Room(version).state[CREATE]
    content = {key: value for key, value in {**good.content, **change}.items() if value is not None}
    room = Room(version)
    room.room_id = None if version == "12" else room.room_id
    event = room.make("m.room.create", content, state_key="", prev_events=())
    with pytest.raises(NotAllowedError):
        authorize(event, {})
    authorize(good, {})


def test_a_create_event_stands_first_and_in_a_room_of_its_own_server(room: Room) -> None:
    create = room.state[CREATE]
    room.room_id = None if room.version.room_id_is_hash else room.room_id
    later = room.make("m.room.create", create.content, state_key="")
    assert "nothing before it" in refused(room, later)
    if not room.version.room_id_is_hash:
        foreign = room.make("m.room.create", create.content, state_key="", sender=BOB, prev_events=())
        assert "another server" in refused(room, foreign)


def test_a_second_create_event_of_version_12_is_refused() -> None:
    room = Room("12")
    assert "nothing before it" in refused(room, room.make("m.room.create", {}, state_key="x"))
    assert "room_id" in refused(room, room.make("m.room.create", {}, state_key="x", prev_events=()))


def test_nothing_is_allowed_without_the_rooms_own_accepted_create_event(room: Room) -> None:
    message = room.message("hello")
    with pytest.raises(NotAllowedError):
        authorize(message, {key: event for key, event in room.state.items() if key != CREATE})
    other = Room(room.version.id, {"x": 1}).state[CREATE]
    if room.version.room_id_is_hash:
        with pytest.raises(NotAllowedError):
            authorize(message, {**room.state, CREATE: other})
    room.state[CREATE].rejected = True
    refused(room, message)


@pytest.mark.parametrize("federate", [False, "no", None])
def test_a_room_that_is_not_federated_is_closed_to_other_servers(federate: Any) -> None:
    for version in VERSIONS:
        room = Room(version, {"m.federate": federate})
        open_room(room)
        assert "not federated" in refused(room, room.member(BOB, "join"))
        assert "not federated" in refused(room, room.member(BOB, "invite", sender=ALICE))
        authorize(room.member("@carol:home", "join"), room.state)


def test_who_is_not_in_the_room_may_not_speak(room: Room) -> None:
    assert "not in the room" in refused(room, room.message("hello", sender=BOB))
    open_room(room)
    room.add(room.member(BOB, "join"))
    authorize(room.message("hello", sender=BOB), room.state)
    room.add(room.member(BOB, "leave"))
    refused(room, room.message("hello", sender=BOB))


def test_types_need_their_power_level(room: Room) -> None:
    open_room(room)
    room.add(room.member(BOB, "join"))
    assert "power level" in refused(room, room.make("m.room.topic", {}, state_key="", sender=BOB))
    users = {} if room.version.creators_are_supreme else {ALICE: 100}
    content = {"users": users, "events": {"m.room.topic": 0, "odd": 1}}
    room.add(room.make("m.room.power_levels", content, state_key=""))
    authorize(room.make("m.room.topic", {}, state_key="", sender=BOB), room.state)
    refused(room, room.make("odd", {}, sender=BOB))
    authorize(room.make("odd", {}, sender=ALICE), room.state)


def test_a_state_key_that_is_a_user_id_belongs_to_that_user(room: Room) -> None:
    authorize(room.make("odd", {}, state_key=ALICE), room.state)
    authorize(room.make("odd", {}, state_key="alice"), room.state)
    assert "belongs to" in refused(room, room.make("odd", {}, state_key=BOB))


def test_promising_a_third_party_invite_needs_the_invite_level(room: Room) -> None:
    open_room(room)
    room.add(room.member(BOB, "join"))
    promise = room.make("m.room.third_party_invite", {}, state_key="t", sender=BOB)
    authorize(promise, room.state)
    users = {} if room.version.creators_are_supreme else {ALICE: 100}
    room.add(room.make("m.room.power_levels", {"users": users, "invite": 1}, state_key=""))
    refused(room, promise)


def test_redactions_are_events_like_others(room: Room) -> None:
    open_room(room)
    room.add(room.member(BOB, "join"))
    authorize(room.make("m.room.redaction", {}, sender=BOB, redacts=room.last[0]), room.state)


def test_citing_what_the_selection_names_is_right(room: Room) -> None:
    event = room.message("hello")
    check_auth_events(
        event, [room_event for room_event in room.state.values() if room_event.event_id in event.auth_events]
    )
    check_auth_events(room.state[CREATE], [])


def test_foul_citations_are_refused(room: Room) -> None:
    open_room(room)
    message = room.message("hello")
    alice, rules = room.state[member(ALICE)], room.state[RULES]
    create = [] if room.version.room_id_is_hash else [room.state[CREATE]]
    check_auth_events(message, [*create, alice])
    other_room = Room(room.version.id, {"x": 1})
    other_room.room_id = other_room.room_id if room.version.room_id_is_hash else ALICE.replace("@", "!")  # type: ignore[assignment]
    foreign = other_room.make("m.room.member", {"membership": "join"}, state_key=ALICE)
    for cited in ([*create, alice, rules], [*create, alice, alice], [*create, room.message("x")], [*create, foreign]):
        with pytest.raises(NotAllowedError):
            check_auth_events(message, cited)
    alice.rejected = True
    with pytest.raises(NotAllowedError):
        check_auth_events(message, [*create, alice])


def test_one_auth_event_named_twice_is_refused_as_two_for_the_same_state_are(room: Room) -> None:
    message = room.message("hello")
    doubled = {**message.raw, "auth_events": [*message.raw["auth_events"], message.raw["auth_events"][0]]}
    event = stored_event(doubled, room.version, message.event_id)
    cited = [entry for entry in room.state.values() if entry.event_id in message.auth_events]
    with pytest.raises(NotAllowedError):
        check_auth_events(event, cited)


def test_versions_before_12_must_cite_the_create_event_and_12_must_not() -> None:
    for version in VERSIONS:
        room = Room(version)
        message, alice = room.message("hello"), room.state[member(ALICE)]
        with_create, without = [room.state[CREATE], alice], [alice]
        good, bad = (without, with_create) if version == "12" else (with_create, without)
        check_auth_events(message, good)
        with pytest.raises(NotAllowedError):
            check_auth_events(message, bad)


KEYS = ["membership", "join_rule", "users", "events", "invite", "ban", "third_party_invite", "signed", "token", "mxid"]
KEYS += ["join_authorised_via_users_server", "public_key", "public_keys", "m.federate", "creator", "room_version"]
VALUES = st.sampled_from(["join", "invite", "knock", "restricted", "t", ALICE, BOB, {"signed": {"token": "t"}}]) | JSON
TYPES = ["create", "member", "power_levels", "join_rules", "third_party_invite", "topic"]


@given(
    content=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5),
    event_type=st.sampled_from(TYPES),
    state_key=st.sampled_from(["", ALICE, BOB, "t", None]),
    version=st.sampled_from(["6", "10", "12"]),
    junk=st.lists(st.tuples(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(KEYS), VALUES)), max_size=3),
)
@settings(max_examples=70)
def test_whatever_content_holds_it_is_allowed_or_refused(
    content: Any, event_type: str, state_key: str | None, version: str, junk: list[tuple[str, Any]]
) -> None:
    room = READY[version]
    base = room.message("x").raw

    def odd_event(name: str, odd: Any, key: str | None) -> Event:
        raw = {**base, "type": f"m.room.{name}", "content": odd, **({} if key is None else {"state_key": key})}
        return stored_event(raw, room.version, EventId("$" + "A" * 43))

    odd_keys = {"member": BOB, "third_party_invite": "t"}
    odd_state = [odd_event(name, odd, odd_keys.get(name, "")) for name, odd in junk]
    state = room.state | {odd.key: odd for odd in odd_state}
    event = odd_event(event_type, content, state_key)
    required_signers(event)
    with contextlib.suppress(NotAllowedError):
        authorize(event, state)
    with contextlib.suppress(NotAllowedError):
        check_auth_events(event, state.values())


READY = {version: Room(version) for version in ("6", "10", "12")}
