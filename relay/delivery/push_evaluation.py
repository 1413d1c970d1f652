"""Which events notify a person: their push rules, compiled, over one event at a time. Pure.

Client-server API, "Push Rules" (kinds in their order of priority, actions, conditions).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

_KINDS = ("override", "content", "room", "sender", "underride")
_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,9})")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
_SCALARS = (str, int, bool, type(None))
_NOTHING = object()


class Verdict(NamedTuple):
    """What the first matching rule says: whether to notify, and whether to highlight."""

    notify: bool
    highlight: bool


SILENT = Verdict(notify=False, highlight=False)


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """What conditions ask about a room besides the event.

    Attributes:
        member_count: joined members.
        display_name: of the rules' owner in this room, None where they have none.
        may_notify: whether a sender has the power to notify (`key` of `sender_notification_permission`).
    """

    member_count: int
    display_name: str | None
    may_notify: Callable[[str, str], bool]


Condition = Callable[[Mapping[str, Any], RoomFacts], bool]


class PushRules:
    """A person's rules, compiled."""

    def __init__(self, ruleset: Mapping[str, Any]) -> None:
        """Compile `ruleset` (the `global` object of `GET /pushrules/`, defaults included)."""
        self._rules = [
            (_conditions(kind, rule), _verdict(rule.get("actions")))
            for kind in _KINDS
            for rule in ruleset.get(kind) or ()
            if rule.get("enabled", True)
        ]

    def verdict(self, event: Mapping[str, Any], facts: RoomFacts) -> Verdict:
        """Return what happens at `event` (client format); the first rule all of whose conditions hold decides."""
        for conditions, verdict in self._rules:
            if all(condition(event, facts) for condition in conditions):
                return verdict
        return SILENT


def _verdict(actions: object) -> Verdict:
    notify = highlight = False
    for action in actions if isinstance(actions, list) else ():
        if action == "notify":
            notify = True
        elif isinstance(action, Mapping) and action.get("set_tweak") == "highlight":
            highlight = action.get("value", True) is True
    return Verdict(notify=notify, highlight=notify and highlight)


def _conditions(kind: str, rule: Mapping[str, Any]) -> tuple[Condition, ...]:
    if kind == "content":
        return (_event_match({"key": "content.body", "pattern": rule.get("pattern")}),)
    if kind == "room":
        return (_event_match({"key": "room_id", "pattern": rule.get("rule_id")}, literal=True),)
    if kind == "sender":
        return (_event_match({"key": "sender", "pattern": rule.get("rule_id")}, literal=True),)
    return tuple(_condition(condition) for condition in rule.get("conditions") or ())


def _condition(condition: object) -> Condition:
    if not isinstance(condition, Mapping):
        return _never
    make = _MAKERS.get(condition.get("kind", ""))
    return _never if make is None else make(condition)


def _never(_event: Mapping[str, Any], _facts: RoomFacts) -> bool:
    return False


def _event_match(condition: Mapping[str, Any], *, literal: bool = False) -> Condition:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return _never
    path = split_path(key)
    if literal:
        return lambda event, _facts: _find(event, path) == pattern
    test = _body_test(pattern) if key == "content.body" else _whole_test(pattern)

    def matches(event: Mapping[str, Any], _facts: RoomFacts) -> bool:
        value = _find(event, path)
        return isinstance(value, str) and test(value)

    return matches


def _whole_test(pattern: str) -> Callable[[str], bool]:
    if "*" not in pattern and "?" not in pattern:
        folded = pattern.lower()
        return lambda value: value.lower() == folded
    expression = re.compile(_glob(pattern), re.IGNORECASE | re.DOTALL)
    return lambda value: expression.fullmatch(value) is not None


def _body_test(pattern: str) -> Callable[[str], bool]:
    expression = re.compile(rf"(?:^|(?<![A-Za-z0-9_])){_glob(pattern)}(?![A-Za-z0-9_])", re.IGNORECASE | re.DOTALL)
    return lambda value: expression.search(value) is not None


def _glob(pattern: str) -> str:
    return "".join({"*": ".*?", "?": "."}.get(part, re.escape(part)) for part in re.split(r"(\*|\?)", pattern))


def _property_is(condition: Mapping[str, Any]) -> Condition:
    key, value = condition.get("key"), condition.get("value", _NOTHING)
    if not isinstance(key, str) or not isinstance(value, _SCALARS):
        return _never
    path = split_path(key)
    return lambda event, _facts: _same(_find(event, path), value)


def _property_contains(condition: Mapping[str, Any]) -> Condition:
    key, value = condition.get("key"), condition.get("value", _NOTHING)
    if not isinstance(key, str) or not isinstance(value, _SCALARS):
        return _never
    path = split_path(key)

    def matches(event: Mapping[str, Any], _facts: RoomFacts) -> bool:
        held = _find(event, path)
        return isinstance(held, list) and any(_same(item, value) for item in held)

    return matches


def _contains_display_name(_condition: Mapping[str, Any]) -> Condition:
    def matches(event: Mapping[str, Any], facts: RoomFacts) -> bool:
        body = event["content"].get("body")
        name = facts.display_name
        if not name or not isinstance(body, str):
            return False
        word = rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])"
        return re.search(word, body, re.IGNORECASE) is not None

    return matches


def _room_member_count(condition: Mapping[str, Any]) -> Condition:
    text = condition.get("is")
    match = _COUNT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return _never
    compare, number = _COMPARE[match[1] or "=="], int(match[2])
    return lambda _event, facts: compare(facts.member_count, number)


def _sender_notification_permission(condition: Mapping[str, Any]) -> Condition:
    key = condition.get("key")
    if not isinstance(key, str):
        return _never
    return lambda event, facts: facts.may_notify(event["sender"], key)


_MAKERS: dict[str, Callable[[Mapping[str, Any]], Condition]] = {
    "event_match": _event_match,
    "event_property_is": _property_is,
    "event_property_contains": _property_contains,
    "contains_display_name": _contains_display_name,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}


def _same(held: object, value: object) -> bool:
    # True == 1 in Python; not in JSON.
    return type(held) is type(value) and held == value


def _find(event: Mapping[str, Any], path: tuple[str, ...]) -> object:
    value: object = event
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return _NOTHING
        value = value[key]
    return value


def split_path(path: str) -> tuple[str, ...]:
    r"""Return the keys of a dot-separated path; `\.` is a dot and `\\` a backslash.

    Appendices, "Dot-separated property paths".
    """
    parts, part, escaped = [], "", False
    for character in path:
        if escaped:
            part += character if character in ".\\" else "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ".":
            parts.append(part)
            part = ""
        else:
            part += character
    return (*parts, part + ("\\" if escaped else ""))
