from typing import Any

import pytest

from relay.base.ids import KeyId, ServerName
from relay.core.matrix import signing, unpadded_base64
from relay.core.matrix.authorization import NotAllowedError, authorize
from relay.core.matrix.events import Event
from tests.unit.core.matrix.rooms import ALICE, BOB, Room

CAROL, MOD, PEER = "@carol:away", "@mod:home", "@peer:home"


@pytest.fixture(params=["10", "11", "12"])
def room(request: pytest.FixtureRequest) -> Room:
    """A public room where Mod and Peer have 50 and Bob is joined."""
    room = Room(request.param)
    users = {MOD: 50, PEER: 50} if room.version.creators_are_supreme else {MOD: 50, PEER: 50, ALICE: 100}
    room.add(room.make("m.room.power_levels", {"users": users}, state_key=""))
    rule(room, "public")
    for user in (MOD, PEER, BOB):
        room.add(room.member(user, "join"))
    return room


def rule(room: Room, join_rule: Any) -> None:
    room.add(room.make("m.room.join_rules", {"join_rule": join_rule}, state_key=""))


def allowed(room: Room, event: Event) -> bool:
    try:
        authorize(event, room.state)
    except NotAllowedError:
        return False
    return True


def has(room: Room, user: str, membership: str) -> None:
    room.force(room.make("m.room.member", {"membership": membership}, state_key=user, sender=user))


def inviting_needs(room: Room, level: int) -> None:
    content = {**room.state["m.room.power_levels", ""].content, "invite": level}
    room.add(room.make("m.room.power_levels", content, state_key=""))


@pytest.mark.parametrize(
    ("join_rule", "able"),
    [
        ("public", {None, "leave", "invite", "join", "knock"}),
        ("invite", {"invite", "join"}),
        ("knock", {"invite", "join"}),
        ("restricted", {"invite", "join"}),
        ("knock_restricted", {"invite", "join"}),
        ("private", set()),
        ("odd", set()),
        (5, set()),
        ([], set()),
    ],
)
def test_who_may_join_depends_on_the_join_rule(room: Room, join_rule: Any, able: set[str | None]) -> None:
    rule(room, join_rule)
    for current in (None, "leave", "invite", "join", "knock", "ban"):
        if current is not None:
            has(room, CAROL, current)
        assert allowed(room, room.member(CAROL, "join")) == (current in able)


def test_no_join_rule_and_no_word_in_it_mean_invite(room: Room) -> None:
    room.add(room.make("m.room.join_rules", {}, state_key=""))
    assert not allowed(room, room.member(CAROL, "join"))
    del room.state["m.room.join_rules", ""]
    assert not allowed(room, room.member(CAROL, "join"))
    has(room, CAROL, "invite")
    assert allowed(room, room.member(CAROL, "join"))


def test_only_the_creators_first_join_needs_no_rule() -> None:
    for version in ("10", "11", "12"):
        room = Room(version, {"additional_creators": [BOB]})
        create = room.state["m.room.create", ""]
        alone = {create.key: create}
        first = (create.event_id,)
        content = {"membership": "join"}
        authorize(room.make("m.room.member", content, state_key=ALICE, prev_events=first), alone)
        for user, before in ((BOB, first), (ALICE, (*first, create.event_id))):
            with pytest.raises(NotAllowedError):
                authorize(room.make("m.room.member", content, state_key=user, sender=user, prev_events=before), alone)


def test_nobody_joins_or_knocks_for_somebody_else(room: Room) -> None:
    assert not allowed(room, room.member(CAROL, "join", sender=ALICE))
    rule(room, "knock")
    assert not allowed(room, room.member(CAROL, "knock", sender=ALICE))


@pytest.mark.parametrize("join_rule", ["restricted", "knock_restricted"])
def test_a_restricted_join_needs_a_voucher_who_is_in_and_may_invite(room: Room, join_rule: str) -> None:
    rule(room, join_rule)

    def vouched(voucher: Any) -> bool:
        return allowed(room, room.member(CAROL, "join", join_authorised_via_users_server=voucher))

    assert vouched(BOB)
    assert not vouched("@ghost:home")
    room.add(
        room.make("m.room.power_levels", {**room.state["m.room.power_levels", ""].content, "invite": 50}, state_key="")
    )
    assert not vouched(BOB)
    assert vouched(MOD)
    assert vouched(ALICE)
    has(room, MOD, "leave")
    assert not vouched(MOD)
    has(room, CAROL, "ban")
    assert not vouched(ALICE)


@pytest.mark.parametrize("voucher", [None, 5, [], {}, "", "mod"])
def test_a_voucher_who_is_nobody_spoils_any_join(room: Room, voucher: Any) -> None:
    assert not allowed(room, room.member(CAROL, "join", join_authorised_via_users_server=voucher))


def test_inviting_needs_to_be_in_and_the_level_and_a_target_outside(room: Room) -> None:
    assert allowed(room, room.member(CAROL, "invite", sender=BOB))
    assert not allowed(room, room.member(CAROL, "invite", sender="@ghost:home"))
    for current, able in (("leave", True), ("invite", True), ("knock", True), ("join", False), ("ban", False)):
        has(room, CAROL, current)
        assert allowed(room, room.member(CAROL, "invite", sender=BOB)) == able
    has(room, CAROL, "leave")
    room.add(
        room.make("m.room.power_levels", {**room.state["m.room.power_levels", ""].content, "invite": 1}, state_key="")
    )
    assert not allowed(room, room.member(CAROL, "invite", sender=BOB))
    assert allowed(room, room.member(CAROL, "invite", sender=MOD))


def test_leaving_is_for_who_is_invited_joined_or_knocking(room: Room) -> None:
    for current, able in (("leave", False), ("invite", True), ("knock", True), ("join", True), ("ban", False)):
        has(room, CAROL, current)
        assert allowed(room, room.member(CAROL, "leave")) == able
    assert not allowed(room, room.member("@ghost:home", "leave"))


def test_removing_and_banning_need_the_level_and_a_weaker_target(room: Room) -> None:
    for membership in ("leave", "ban"):
        assert allowed(room, room.member(BOB, membership, sender=MOD))
        assert allowed(room, room.member(MOD, membership, sender=ALICE))
        assert not allowed(room, room.member(PEER, membership, sender=MOD))
        assert not allowed(room, room.member(ALICE, membership, sender=MOD))
        assert not allowed(room, room.member(MOD, membership, sender=BOB))
        assert not allowed(room, room.member(BOB, membership, sender="@ghost:home"))
    assert not allowed(room, room.member(MOD, "ban"))


def test_unbanning_needs_the_ban_level_and_the_kick_level(room: Room) -> None:
    content = dict(room.state["m.room.power_levels", ""].content)
    has(room, CAROL, "ban")
    assert allowed(room, room.member(CAROL, "leave", sender=MOD))
    for name in ("ban", "kick"):
        room.force(room.make("m.room.power_levels", {**content, name: 60}, state_key=""))
        assert not allowed(room, room.member(CAROL, "leave", sender=MOD))
        assert allowed(room, room.member(CAROL, "leave", sender=ALICE))


def test_knocking_is_for_outsiders_of_rooms_that_know_it(room: Room) -> None:
    for join_rule in ("public", "invite", "restricted", "private"):
        rule(room, join_rule)
        assert not allowed(room, room.member(CAROL, "knock"))
    for join_rule in ("knock", "knock_restricted"):
        rule(room, join_rule)
        for current, able in (("leave", True), ("knock", True), ("invite", False), ("join", False), ("ban", False)):
            has(room, CAROL, current)
            assert allowed(room, room.member(CAROL, "knock")) == able
    assert allowed(room, room.member("@new:away", "knock"))


@pytest.mark.parametrize("membership", ["odd", "", None, 5, [], {}])
def test_an_unknown_membership_is_refused(room: Room, membership: Any) -> None:
    assert not allowed(room, room.make("m.room.member", {"membership": membership}, state_key=ALICE))


def test_a_member_event_needs_a_state_key_and_a_membership(room: Room) -> None:
    assert not allowed(room, room.make("m.room.member", {"membership": "join"}))
    assert not allowed(room, room.make("m.room.member", {}, state_key=ALICE))


KEY = signing.SigningKey(KeyId("ed25519:0"), b"3" * 32)
JUNK: list[Any] = ["odd", 5, None, [], {"a": 5}, {"a": {"ed25519:0": 5}}, {"a": {"rsa:0": "A" * 86}}]
PUBLIC = unpadded_base64.encode(KEY.public)


def third_party(room: Room, *, sender: str = ALICE, target: str = CAROL, **changed: Any) -> Event:
    signed = signing.sign_json({"mxid": CAROL, "token": "t"}, ServerName("id"), KEY)
    signed = {key: value for key, value in {**signed, **changed}.items() if value != "absent"}
    return room.member(target, "invite", sender=sender, third_party_invite={"display_name": "C", "signed": signed})


@pytest.mark.parametrize(
    "promise",
    [
        {"public_key": PUBLIC},
        {"public_keys": [{"public_key": PUBLIC}]},
        {"public_key": "A" * 43, "public_keys": [{"public_key": "junk"}, 5, {}, {"public_key": PUBLIC}]},
    ],
)
def test_a_promised_third_party_invite_is_allowed_even_after_its_sender_left(room: Room, promise: Any) -> None:
    room.add(room.make("m.room.third_party_invite", promise, state_key="t"))
    assert allowed(room, third_party(room))
    has(room, ALICE, "leave")
    assert allowed(room, third_party(room))
    has(room, CAROL, "ban")
    assert not allowed(room, third_party(room))


@pytest.mark.parametrize(
    "promise", [{}, {"public_key": None}, {"public_key": "A" * 43}, {"public_keys": 5}, {"public_keys": {"a": 1}}]
)
def test_a_promise_without_the_right_key_lets_nobody_in(room: Room, promise: Any) -> None:
    room.add(room.make("m.room.third_party_invite", promise, state_key="t"))
    assert not allowed(room, third_party(room))


def test_a_third_party_invite_must_be_as_promised(room: Room) -> None:
    room.add(room.make("m.room.third_party_invite", {"public_key": PUBLIC}, state_key="t"))
    assert not allowed(room, third_party(room, sender=MOD))
    assert not allowed(room, third_party(room, target="@other:away"))
    values: list[Any] = ["absent", *JUNK]
    for name in ("mxid", "token", "signatures"):
        for value in values:
            assert not allowed(room, third_party(room, **{name: value}))
    assert not allowed(room, third_party(room, more="unsigned text"))
    claims: list[Any] = [None, 5, [], {}, {"signed": None}, {"signed": {}}]
    for junk in claims:
        assert not allowed(room, room.member(CAROL, "invite", sender=ALICE, third_party_invite=junk))


@pytest.mark.parametrize(
    ("version", "rules"),
    [
        ("6", {"invite"}),
        ("7", {"invite", "knock"}),
        ("8", {"invite", "knock", "restricted"}),
        ("9", {"invite", "knock", "restricted"}),
        ("10", {"invite", "knock", "restricted", "knock_restricted"}),
    ],
)
def test_older_versions_know_fewer_join_rules(version: str, rules: set[str]) -> None:
    room = Room(version)
    for join_rule in ("invite", "knock", "restricted", "knock_restricted"):
        rule(room, join_rule)
        has(room, CAROL, "invite")
        assert allowed(room, room.member(CAROL, "join")) == (join_rule in rules)
        has(room, CAROL, "leave")
        vouched = room.member(CAROL, "join", join_authorised_via_users_server=ALICE)
        assert allowed(room, vouched) == (join_rule in rules - {"invite", "knock"})
        knocks = join_rule in rules - {"invite", "restricted"}
        assert allowed(room, room.member(CAROL, "knock")) == knocks
    has(room, CAROL, "knock")
    assert allowed(room, room.member(CAROL, "leave")) == (version != "6")
