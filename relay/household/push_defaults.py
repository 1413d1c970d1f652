"""The push rules everybody starts with. Client-server API v1.17, "Predefined Rules"."""

from typing import Any

from relay.base.ids import UserId

_HIGHLIGHT = {"set_tweak": "highlight"}


def defaults(user: UserId) -> dict[str, list[dict[str, Any]]]:
    """Return the predefined rules by kind, in order."""
    return {
        "override": [
            _rule(".m.rule.master", [], [], enabled=False),
            _rule(".m.rule.suppress_notices", [_match("content.msgtype", "m.notice")], []),
            _rule(
                ".m.rule.invite_for_me",
                [_match("type", "m.room.member"), _match("content.membership", "invite"), _match("state_key", user)],
                ["notify", _sound("default")],
            ),
            _rule(".m.rule.member_event", [_match("type", "m.room.member")], []),
            _rule(
                ".m.rule.is_user_mention",
                [{"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": user}],
                ["notify", _sound("default"), _HIGHLIGHT],
            ),
            _rule(
                ".m.rule.is_room_mention",
                [
                    {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
                    {"kind": "sender_notification_permission", "key": "room"},
                ],
                ["notify", _HIGHLIGHT],
            ),
            _rule(
                ".m.rule.tombstone",
                [_match("type", "m.room.tombstone"), _match("state_key", "")],
                ["notify", _HIGHLIGHT],
            ),
            _rule(".m.rule.reaction", [_match("type", "m.reaction")], []),
            _rule(".m.rule.room.server_acl", [_match("type", "m.room.server_acl"), _match("state_key", "")], []),
            _rule(
                ".m.rule.suppress_edits",
                [{"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"}],
                [],
            ),
        ],
        "underride": [
            _rule(".m.rule.call", [_match("type", "m.call.invite")], ["notify", _sound("ring")]),
            _rule(
                ".m.rule.encrypted_room_one_to_one",
                [_TWO_PEOPLE, _match("type", "m.room.encrypted")],
                ["notify", _sound("default")],
            ),
            _rule(
                ".m.rule.room_one_to_one",
                [_TWO_PEOPLE, _match("type", "m.room.message")],
                ["notify", _sound("default")],
            ),
            _rule(".m.rule.message", [_match("type", "m.room.message")], ["notify"]),
            _rule(".m.rule.encrypted", [_match("type", "m.room.encrypted")], ["notify"]),
        ],
    }


_TWO_PEOPLE = {"kind": "room_member_count", "is": "2"}


def _rule(rule_id: str, conditions: list[Any], actions: list[Any], *, enabled: bool = True) -> dict[str, Any]:
    return {"rule_id": rule_id, "default": True, "enabled": enabled, "conditions": conditions, "actions": actions}


def _match(key: str, pattern: str) -> dict[str, str]:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _sound(name: str) -> dict[str, str]:
    return {"set_tweak": "sound", "value": name}
