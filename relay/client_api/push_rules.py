"""Push rules: read and changed (client-server API, "Push Rules: API")."""

from typing import Any, Literal

from relay.base.errors import InvalidParamError, NotFoundError
from relay.client_api.door import Door, Reply, grows, json_object
from relay.client_api.fields import optional_list, required
from relay.delivery.ledger import Ledger
from relay.household import push_rules
from relay.household.sessions import Session
from relay.transport.message import Request

_RULE = "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}"


def register(door: Door, ledger: Ledger) -> None:
    """Hang the endpoints of push rules here."""
    endpoints = _PushRuleEndpoints(ledger)
    door.private("GET", "/_matrix/client/v3/pushrules/", endpoints.everything)
    door.private("GET", "/_matrix/client/v3/pushrules", endpoints.everything)
    door.private("GET", "/_matrix/client/v3/pushrules/global/", endpoints.ruleset)
    door.private("GET", "/_matrix/client/v3/pushrules/global", endpoints.ruleset)
    door.private("GET", _RULE, endpoints.rule)
    door.private("PUT", _RULE, endpoints.put, grows=grows)
    door.private("DELETE", _RULE, endpoints.delete)
    for part in ("enabled", "actions"):
        door.private("GET", f"{_RULE}/{part}", endpoints.part)
        door.private("PUT", f"{_RULE}/{part}", endpoints.put_part, grows=grows)


class _PushRuleEndpoints:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def everything(self, session: Session, _request: Request) -> Reply:
        return {"global": await self._ledger.read(push_rules.ruleset, session.user)}

    async def ruleset(self, session: Session, _request: Request) -> Reply:
        return dict(await self._ledger.read(push_rules.ruleset, session.user))

    async def rule(self, session: Session, request: Request) -> Reply:
        return await self._ledger.read(push_rules.rule, session.user, _kind(request), request.params["ruleId"])

    async def put(self, session: Session, request: Request) -> Reply:
        kind, body = _kind(request), await json_object(request)
        rule: dict[str, Any] = {"rule_id": request.params["ruleId"], "actions": _actions(body)}
        if kind in ("override", "underride"):
            rule["conditions"] = optional_list(body, "conditions")
            if not all(isinstance(condition, dict) for condition in rule["conditions"]):
                raise InvalidParamError("a condition is not an object")
        elif kind == "content":
            rule["pattern"] = required(body, "pattern")
            if not isinstance(rule["pattern"], str):
                raise InvalidParamError("pattern is not a text")
        beside = _beside(request)
        await self._ledger.run(push_rules.put_rule, session.user, kind, rule, beside=beside)
        return None

    async def delete(self, session: Session, request: Request) -> Reply:
        await self._ledger.run(push_rules.drop_rule, session.user, _kind(request), request.params["ruleId"])
        return None

    async def part(self, session: Session, request: Request) -> Reply:
        part = request.path.rpartition("/")[2]
        found = await self._ledger.read(push_rules.rule, session.user, _kind(request), request.params["ruleId"])
        return {part: found[part]}

    async def put_part(self, session: Session, request: Request) -> Reply:
        part, body = request.path.rpartition("/")[2], await json_object(request)
        value = _actions(body) if part == "actions" else required(body, "enabled")
        if part == "enabled" and not isinstance(value, bool):
            raise InvalidParamError("enabled is not true or false")
        await self._ledger.run(
            push_rules.edit_rule, session.user, _kind(request), request.params["ruleId"], {part: value}
        )
        return None


def _kind(request: Request) -> str:
    kind = request.params["kind"]
    if kind not in push_rules.KINDS:
        raise NotFoundError("there are no push rules of this kind")
    return kind


def _actions(body: dict[str, Any]) -> list[Any]:
    required(body, "actions")
    actions = optional_list(body, "actions")
    if not all(isinstance(action, str) or (isinstance(action, dict) and "set_tweak" in action) for action in actions):
        raise InvalidParamError("an action is neither a text nor a tweak")
    return actions


def _beside(request: Request) -> tuple[Literal["before", "after"], str] | None:
    before, after = request.argument("before"), request.argument("after")
    if before is not None:
        return ("before", before)
    return None if after is None else ("after", after)
