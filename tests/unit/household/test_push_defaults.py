from relay.base.ids import UserId
from relay.household.push_defaults import defaults


def test_every_predefined_rule_is_there_in_its_order() -> None:
    rules = defaults(UserId("@a:box.test"))
    assert [rule["rule_id"].removeprefix(".m.rule.") for rule in rules["override"]] == [
        "master",
        "suppress_notices",
        "invite_for_me",
        "member_event",
        "is_user_mention",
        "is_room_mention",
        "tombstone",
        "reaction",
        "room.server_acl",
        "suppress_edits",
    ]
    assert [rule["rule_id"].removeprefix(".m.rule.") for rule in rules["underride"]] == [
        "call",
        "encrypted_room_one_to_one",
        "room_one_to_one",
        "message",
        "encrypted",
    ]
    assert all(rule["default"] for kind in rules.values() for rule in kind)
