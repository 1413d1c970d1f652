"""What stays of an event when it is redacted. Source: Matrix specification v1.19, "Redactions" of room versions."""

from collections.abc import Mapping
from typing import Any, Final

from relay.core.matrix.room_versions import RoomVersion

_KEYS_11: Final = frozenset(
    {"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures"}
    | {"depth", "prev_events", "auth_events", "origin_server_ts"}
)
_KEYS_9: Final = _KEYS_11 | {"prev_state", "origin", "membership"}
_POWER_LEVELS_9: Final = (
    *("ban", "events", "events_default", "kick"),
    *("redact", "state_default", "users", "users_default"),
)

_CONTENT_9: Final = {
    "m.room.member": ("membership", "join_authorised_via_users_server"),
    "m.room.create": ("creator",),
    "m.room.join_rules": ("join_rule", "allow"),
    "m.room.power_levels": _POWER_LEVELS_9,
    "m.room.history_visibility": ("history_visibility",),
}
_CONTENT_11: Final = _CONTENT_9 | {
    "m.room.power_levels": (*_POWER_LEVELS_9, "invite"),
    "m.room.redaction": ("redacts",),
}


def redact(raw: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    """Return what a redaction leaves of a PDU; values are shared with `raw`, never copied deeply."""
    keys = _KEYS_11 if version.redaction_rules_of_11 else _KEYS_9
    kept = {key: value for key, value in raw.items() if key in keys}
    content = raw.get("content")
    kept["content"] = _content(raw.get("type"), content, version) if isinstance(content, Mapping) else {}
    return kept


def _content(event_type: object, content: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
    if not isinstance(event_type, str):
        return {}
    if not version.redaction_rules_of_11:
        return _only(content, _kept_before_11(event_type, version))
    if event_type == "m.room.create":
        return dict(content)
    kept = _only(content, _CONTENT_11.get(event_type, ()))
    invite = content.get("third_party_invite")
    if event_type == "m.room.member" and isinstance(invite, Mapping):
        kept["third_party_invite"] = _only(invite, ("signed",))
    return kept


def _kept_before_11(event_type: str, version: RoomVersion) -> tuple[str, ...]:
    if event_type == "m.room.member" and not version.redaction_keeps_voucher:
        return ("membership",)
    if event_type == "m.room.join_rules" and not version.restricted_joins:
        return ("join_rule",)
    return _CONTENT_9.get(event_type, ())


def _only(content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: content[key] for key in keys if key in content}
