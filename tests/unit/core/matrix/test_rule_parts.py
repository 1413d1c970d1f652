import pytest

from relay.core.matrix.rule_parts import NotAllowedError, is_user_id, looks_like_user_id, membership_of, refuse
from tests.unit.core.matrix.rooms import ALICE, BOB, Room


def test_a_refusal_names_the_rule() -> None:
    with pytest.raises(NotAllowedError, match="the rule"):
        refuse("the rule")


def test_membership_is_read_from_the_state() -> None:
    room = Room("11")
    assert membership_of(room.state, ALICE) == "join"
    assert membership_of(room.state, BOB) is None
    room.force(room.make("m.room.member", {"membership": []}, state_key=BOB))
    assert membership_of(room.state, BOB) is None


def test_user_ids_are_told_from_other_values() -> None:
    assert is_user_id(ALICE)
    assert not any(is_user_id(value) for value in (None, 5, "alice", "@alice", "@a:b c"))
    # Deployed servers accept this one as a key of power level users.
    assert looks_like_user_id("@a:b c")
    assert not any(looks_like_user_id(text) for text in ("", "alice:home", "@alice"))
