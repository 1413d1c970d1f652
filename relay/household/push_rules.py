"""Push rules: the specification's defaults, and what a person changed about them.

Only the changes are stored; a default that the specification rewords reaches everybody.
Client-server API v1.17, "Push Rules" and "Predefined Rules".
"""

from collections.abc import Mapping
from typing import Any, Literal

from relay.base.errors import InvalidParamError, NotFoundError, TooLargeError
from relay.base.ids import UserId
from relay.base.limits import MAX_PUSH_RULES_BYTES
from relay.household.push_defaults import defaults
from relay.household.stored_json import pack, unpack
from relay.store.ledger import Change, Index
from relay.store.tables import Operation

DDL = (
    """CREATE TABLE IF NOT EXISTS push_rules (
        user INTEGER PRIMARY KEY, edits BLOB NOT NULL, position INTEGER NOT NULL)""",
)
_SET = Operation(
    400,
    "INSERT INTO push_rules (user, edits, position) VALUES (?, ?, ?)"
    " ON CONFLICT (user) DO UPDATE SET edits = excluded.edits, position = excluded.position",
)
OPERATIONS = (_SET,)

ACCOUNT_DATA_TYPE = "m.push_rules"
KINDS = ("override", "content", "room", "sender", "underride")
Rule = dict[str, Any]
Edits = dict[str, Any]
"""`own`: kind -> rules of the person, in order; `default`: rule id -> changed `enabled` and `actions`."""


def ruleset(index: Index, user: UserId) -> dict[str, list[Rule]]:
    """Return all rules by kind, in the order in which they are tried."""
    edits = _edits(index, user)
    base = defaults(user)
    rules: dict[str, list[Rule]] = {}
    for kind in KINDS:
        changed = [{**rule, **edits["default"].get(rule["rule_id"], {})} for rule in base.get(kind, [])]
        master = [rule for rule in changed if rule["rule_id"] == ".m.rule.master"]
        rest = [rule for rule in changed if rule["rule_id"] != ".m.rule.master"]
        rules[kind] = [*master, *edits["own"].get(kind, []), *rest]
    return rules


def changed_at(index: Index, user: UserId) -> int:
    """Return the position of the last change, 0 for none."""
    return index.value("SELECT position FROM push_rules WHERE user = ?", index.find(user)) or 0


def rule(index: Index, user: UserId, kind: str, rule_id: str) -> Rule:
    """Return one rule.

    Raises:
        NotFoundError: there is none of this kind and id.
    """
    for found in ruleset(index, user).get(kind, []):
        if found["rule_id"] == rule_id:
            return found
    raise NotFoundError("no such push rule")


def put_rule(
    change: Change,
    user: UserId,
    kind: str,
    new: Rule,
    *,
    beside: tuple[Literal["before", "after"], str] | None = None,
) -> None:
    """Add a rule of the person's own, or change one: it keeps its place unless `beside` gives another.

    Raises:
        InvalidParamError: the id is one of the box's, or holds a slash or backslash.
        NotFoundError: `beside` names no rule of the person's own.
        TooLargeError: all rules together are longer than `MAX_PUSH_RULES_BYTES`.
    """
    rule_id = new["rule_id"]
    if kind not in KINDS or rule_id.startswith(".") or "/" in rule_id or "\\" in rule_id:
        raise InvalidParamError("a rule's id may not start with a dot nor hold / or \\")
    edits = _edits(change, user)
    own: list[Rule] = edits["own"].setdefault(kind, [])
    place = next((at for at, known in enumerate(own) if known["rule_id"] == rule_id), None)
    before = None if place is None else own.pop(place)
    stored = {"enabled": True if before is None else before["enabled"], "default": False, **new}
    if beside is not None:
        at = next((at for at, known in enumerate(own) if known["rule_id"] == beside[1]), None)
        if at is None:
            raise NotFoundError("no such push rule to stand beside")
        place = at if beside[0] == "before" else at + 1
    own.insert(0 if place is None else place, stored)
    _store(change, user, edits)


def drop_rule(change: Change, user: UserId, kind: str, rule_id: str) -> None:
    """Delete a rule of the person's own.

    Raises:
        InvalidParamError: the rule is one of the box's.
        NotFoundError: there is no such rule.
    """
    if rule(change, user, kind, rule_id).get("default"):
        raise InvalidParamError("a default rule can be disabled, not deleted")
    edits = _edits(change, user)
    edits["own"][kind] = [known for known in edits["own"][kind] if known["rule_id"] != rule_id]
    _store(change, user, edits)


def edit_rule(change: Change, user: UserId, kind: str, rule_id: str, part: Mapping[str, Any]) -> None:
    """Change `enabled` or `actions` of any rule.

    Raises:
        NotFoundError: there is no such rule.
        TooLargeError: as `put_rule`.
    """
    is_default = rule(change, user, kind, rule_id).get("default")
    edits = _edits(change, user)
    if is_default:
        edits["default"].setdefault(rule_id, {}).update(part)
    else:
        next(known for known in edits["own"][kind] if known["rule_id"] == rule_id).update(part)
    _store(change, user, edits)


def own_edits(index: Index, user: UserId) -> Edits | None:
    """Return what the person changed, None for nothing: what moves to another box with them."""
    edits = _edits(index, user)
    return edits if edits["default"] or any(edits["own"].values()) else None


def adopt(change: Change, user: UserId, edits: Edits) -> bool:
    """Take over what the person changed on another box; False where they changed something here already.

    Raises:
        InvalidParamError: these are no changes of push rules.
        TooLargeError: as `put_rule`.
    """
    own, changed = edits.get("own"), edits.get("default")
    rules_fit = isinstance(own, dict) and all(
        kind in KINDS
        and isinstance(rules, list)
        and all(isinstance(rule, dict) and "rule_id" in rule for rule in rules)
        for kind, rules in own.items()
    )
    if not rules_fit or not isinstance(changed, dict) or not all(isinstance(part, dict) for part in changed.values()):
        raise InvalidParamError("these are not push rules")
    if own_edits(change, user) is not None:
        return False
    _store(change, user, {"own": own, "default": changed})
    return True


def _edits(index: Index, user: UserId) -> Edits:
    stored = index.value("SELECT edits FROM push_rules WHERE user = ?", index.find(user))
    return {"own": {}, "default": {}} if stored is None else dict(unpack(stored))


def _store(change: Change, user: UserId, edits: Edits) -> None:
    stored = pack(edits)
    if len(stored) > MAX_PUSH_RULES_BYTES:
        raise TooLargeError(f"all push rules together may have at most {MAX_PUSH_RULES_BYTES} bytes")
    change.write(_SET, change.intern(user), stored, change.position)
    change.wake(("user", user))
