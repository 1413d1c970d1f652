from typing import Any

import pytest

from relay.core.matrix.power_levels import CREATOR_LEVEL, PowerLevels, creators_of, read_level
from tests.unit.core.matrix.rooms import ALICE, BOB, Room

VERSIONS = ["10", "11", "12"]


def levels_in(room: Room) -> PowerLevels:
    return PowerLevels.of(room.state, room.version)


def with_levels(version: str, content: dict[str, Any]) -> PowerLevels:
    room = Room(version)
    room.force(room.make("m.room.power_levels", content, state_key=""))
    return levels_in(room)


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_power_levels_event_defaults_hold(version: str) -> None:
    levels = levels_in(Room(version))
    assert levels.level_of(ALICE) == (CREATOR_LEVEL if version == "12" else 100)
    assert levels.level_of(BOB) == 0
    assert (levels.invite, levels.kick, levels.ban, levels.redact) == (0, 50, 50, 50)
    assert levels.needed_for("odd", is_state=True) == 50
    assert levels.needed_for("odd", is_state=False) == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_levels_are_those_of_the_event(version: str) -> None:
    content = {"users": {BOB: 7}, "users_default": 3, "events": {"odd": 9}, "events_default": 1, "state_default": 2}
    levels = with_levels(version, {**content, "invite": 4, "kick": 5, "ban": 6, "redact": 8})
    assert (levels.level_of(BOB), levels.level_of("@x:y")) == (7, 3)
    assert levels.level_of(ALICE) == (CREATOR_LEVEL if version == "12" else 3)
    assert (levels.invite, levels.kick, levels.ban, levels.redact) == (4, 5, 6, 8)
    assert [levels.needed_for("odd", is_state=state) for state in (True, False)] == [9, 9]
    assert [levels.needed_for("other", is_state=state) for state in (True, False)] == [2, 1]


def test_a_creators_level_is_above_everything_that_can_be_written() -> None:
    levels = with_levels("12", {"users": {BOB: 2**53 - 1}})
    assert levels.level_of(ALICE) > levels.level_of(BOB)


def test_only_version_12_knows_additional_creators() -> None:
    for version, creators in (("11", {ALICE}), ("12", {ALICE, BOB})):
        room = Room(version, {"additional_creators": [BOB]})
        assert creators_of(room.state["m.room.create", ""]) == creators
        assert levels_in(room).creators == creators


def test_version_10_names_its_creator_in_the_content() -> None:
    room = Room("10")
    odd = room.make("m.room.create", {"creator": BOB}, state_key="", prev_events=(), auth_events=[])
    assert creators_of(odd) == {BOB}
    assert creators_of(room.make("m.room.create", {"creator": 5}, state_key="")) == set()


@pytest.mark.parametrize("junk", [None, "50", True, [], {}, 1.5])
def test_what_is_no_integer_counts_as_absent(junk: Any) -> None:
    def levels(content: dict[str, Any]) -> PowerLevels:
        return PowerLevels(creators=frozenset(), supreme=False, integers_only=True, content=content)

    assert levels({"users": junk, "users_default": junk}).level_of(BOB) == 0
    assert levels({"users": {BOB: junk}}).level_of(BOB) == 0
    assert levels({"ban": junk}).ban == 50


NO_LEVELS: list[Any] = ["", " ", "5.0", "0x1", "1_0", "+-1", "٣", "9" * 4001, None, True, [], 1.5]


@pytest.mark.parametrize(
    ("value", "level"),
    [("50", 50), ("00100", 100), (" +7 ", 7), ("\t-3", -3), (5, 5), *((junk, None) for junk in NO_LEVELS)],
)
def test_before_version_10_a_level_may_be_a_string_of_digits(value: Any, level: int | None) -> None:
    assert read_level(value, integers_only=False) == level
    assert read_level(value, integers_only=True) == (level if type(value) is int else None)


def test_redacting_needs_power_or_the_same_server() -> None:
    levels = with_levels("11", {"users": {ALICE: 100, "@mod:away": 50}})
    assert levels.may_redact("@mod:away", ALICE)
    assert levels.may_redact("@other:away", BOB)
    assert not levels.may_redact(BOB, ALICE)


def test_an_empty_state_gives_nobody_power() -> None:
    assert PowerLevels.of({}, Room("12").version).level_of(ALICE) == 0
