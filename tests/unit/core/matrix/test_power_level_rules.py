from typing import Any

import pytest

from relay.core.matrix.authorization import NotAllowedError, authorize
from tests.unit.core.matrix.rooms import ALICE, BOB, Room

MOD, PEER = "@mod:home", "@peer:home"
BASE: dict[str, Any] = {
    "users": {MOD: 50, PEER: 50, BOB: 10},
    "users_default": 0,
    "events": {"m.room.topic": 20, "high": 90},
    "events_default": 0,
    "state_default": 30,
    "notifications": {"room": 20, "loud": 90},
    "ban": 40,
    "kick": 40,
    "redact": 90,
    "invite": 0,
}


@pytest.fixture(params=["10", "11", "12"])
def room(request: pytest.FixtureRequest) -> Room:
    room = Room(request.param)
    room.add(room.make("m.room.join_rules", {"join_rule": "public"}, state_key=""))
    for user in (MOD, PEER, BOB):
        room.add(room.member(user, "join"))
    room.add(room.make("m.room.power_levels", content(room), state_key=""))
    return room


def content(room: Room, **changed: Any) -> dict[str, Any]:
    base = {**BASE, "users": {**BASE["users"], **({} if room.version.creators_are_supreme else {ALICE: 100})}}
    return {key: value for key, value in {**base, **changed}.items() if value != "absent"}


def allowed(room: Room, new: dict[str, Any], *, sender: str = ALICE) -> bool:
    try:
        authorize(room.make("m.room.power_levels", new, state_key="", sender=sender), room.state)
    except NotAllowedError:
        return False
    return True


def users(room: Room, **changed: Any) -> dict[str, Any]:
    names = {"mod": MOD, "peer": PEER, "bob": BOB, "alice": ALICE, "new": "@new:away"}
    merged = {**content(room)["users"], **{names[name]: level for name, level in changed.items()}}
    return content(room, users={user: level for user, level in merged.items() if level != "absent"})


NAMED = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("junk", ["50", None, True, [], {}])
def test_levels_are_integers(room: Room, name: str, junk: Any) -> None:
    assert not allowed(room, content(room, **{name: junk}))


@pytest.mark.parametrize("name", ["users", "events", "notifications"])
@pytest.mark.parametrize("junk", ["50", None, 5, [], [1], {"@a:b": "50"}, {"@a:b": None}, {"@a:b": True}])
def test_tables_are_objects_of_integers(room: Room, name: str, junk: Any) -> None:
    assert not allowed(room, content(room, **{name: junk}))


def test_users_are_user_ids(room: Room) -> None:
    assert allowed(room, users(room, new=5))
    for name in ("bob", "@bob", "bob:away", ""):
        assert not allowed(room, content(room, users={name: 0}))


def test_the_first_power_levels_may_say_anything(room: Room) -> None:
    del room.state["m.room.power_levels", ""]
    assert allowed(room, content(room, users={BOB: 10_000}, ban=-5))


def test_nothing_may_stay_as_it_is(room: Room) -> None:
    assert allowed(room, content(room), sender=MOD)


@pytest.mark.parametrize("name", NAMED)
def test_named_levels_change_only_up_to_the_senders_own(room: Room, name: str) -> None:
    current = BASE[name]
    for new in (50, -1, "absent"):
        assert allowed(room, content(room, **{name: new}), sender=MOD) == (current <= 50)
    assert not allowed(room, content(room, **{name: 51}), sender=MOD)
    assert allowed(room, content(room, **{name: 100}))


def test_a_named_level_that_was_absent_is_given_only_up_to_the_senders_own(room: Room) -> None:
    room.force(room.make("m.room.power_levels", content(room, redact="absent"), state_key=""))
    assert allowed(room, content(room, redact=50), sender=MOD)
    assert not allowed(room, content(room, redact=51), sender=MOD)


@pytest.mark.parametrize("table", ["events", "notifications"])
def test_entries_change_only_up_to_the_senders_own(room: Room, table: str) -> None:
    low, high = BASE[table].items()
    for entries, able in (
        ({low[0]: 50, high[0]: 90}, True),
        ({low[0]: 51, high[0]: 90}, False),
        ({high[0]: 90}, True),
        ({low[0]: 20}, False),
        ({low[0]: 20, high[0]: 10}, False),
        ({**BASE[table], "new": 50}, True),
        ({**BASE[table], "new": 51}, False),
    ):
        assert allowed(room, content(room, **{table: entries}), sender=MOD) == able
    assert not allowed(room, content(room, **{table: "absent"}), sender=MOD)
    assert allowed(room, content(room, **{table: "absent"}))


def test_users_change_only_below_the_senders_own(room: Room) -> None:
    assert allowed(room, users(room, bob=50), sender=MOD)
    assert allowed(room, users(room, bob="absent"), sender=MOD)
    assert allowed(room, users(room, new=50), sender=MOD)
    assert not allowed(room, users(room, bob=51), sender=MOD)
    assert not allowed(room, users(room, new=51), sender=MOD)
    for level in (49, 51, "absent"):
        assert not allowed(room, users(room, peer=level), sender=MOD)
    if not room.version.creators_are_supreme:
        assert not allowed(room, users(room, alice=10), sender=MOD)


def test_everybody_may_step_down_and_nobody_up(room: Room) -> None:
    assert allowed(room, users(room, mod=10), sender=MOD)
    assert allowed(room, users(room, mod="absent"), sender=MOD)
    assert not allowed(room, users(room, mod=51), sender=MOD)


def test_sending_power_levels_needs_the_level_for_its_type(room: Room) -> None:
    assert not allowed(room, content(room), sender=BOB)


def test_creators_of_version_12_have_no_entry_and_may_change_all() -> None:
    room = Room("12", {"additional_creators": [BOB]})
    assert allowed(room, {"users": {MOD: 2**53 - 1}})
    for creator in (ALICE, BOB):
        assert not allowed(room, {"users": {creator: 100}})
    room.add(room.make("m.room.power_levels", {"users": {MOD: 2**53 - 1}}, state_key=""))
    assert allowed(room, {"users": {MOD: 0}})


def test_power_levels_with_another_state_key_are_judged_by_themselves(room: Room) -> None:
    event = room.make("m.room.power_levels", {"users": {BOB: 5000}}, state_key="x", sender=MOD)
    authorize(event, room.state)


@pytest.mark.parametrize("version", ["6", "7", "8", "9"])
def test_before_version_10_strings_of_digits_are_levels_too(version: str) -> None:
    room = Room(version)
    room.add(room.make("m.room.power_levels", {"users": {ALICE: "100", BOB: " +50 "}, "ban": "60"}, state_key=""))
    assert allowed(room, {"users": {ALICE: 100, BOB: 50}, "ban": 60})
    assert not allowed(room, {"users": {ALICE: "100", BOB: "50"}, "ban": "101"})
    values: list[Any] = ["fifty", None, [], {}]
    for junk in values:
        assert not allowed(room, {"users": {ALICE: 100, BOB: junk}})
        assert not allowed(room, {"users": {ALICE: 100}, "ban": junk})
