from typing import Any

import pytest

from relay.base.errors import InvalidParamError, NotFoundError, TooLargeError
from relay.base.limits import MAX_PUSH_RULES_BYTES
from relay.household import push_rules
from relay.household.push_defaults import defaults
from relay.store.ledger import Ledger
from tests.unit.household.conftest import ALICE, BOB


def rule(name: str, **more: Any) -> dict[str, Any]:
    return {"rule_id": name, "actions": ["notify"], **more}


async def _ids(ledger: Ledger, kind: str) -> list[str]:
    return [known["rule_id"] for known in (await ledger.read(push_rules.ruleset, ALICE))[kind]]


async def test_everybody_starts_with_the_predefined_rules(ledger: Ledger) -> None:
    rules = await ledger.read(push_rules.ruleset, ALICE)
    assert set(rules) == set(push_rules.KINDS)
    assert rules["override"] == defaults(ALICE)["override"]
    assert rules["underride"] == defaults(ALICE)["underride"]
    assert rules["override"][0] == {
        "rule_id": ".m.rule.master",
        "default": True,
        "enabled": False,
        "conditions": [],
        "actions": [],
    }
    assert ALICE in str(rules)
    assert BOB not in str(rules)


async def test_own_rules_stand_between_the_master_and_the_defaults(ledger: Ledger) -> None:
    await ledger.run(push_rules.put_rule, ALICE, "override", rule("a", conditions=[]))
    await ledger.run(push_rules.put_rule, ALICE, "override", rule("b", conditions=[]))
    assert (await _ids(ledger, "override"))[:4] == [".m.rule.master", "b", "a", ".m.rule.suppress_notices"]
    await ledger.run(push_rules.put_rule, ALICE, "override", rule("c"), beside=("after", "b"))
    await ledger.run(push_rules.put_rule, ALICE, "override", rule("a"), beside=("before", "b"))
    assert (await _ids(ledger, "override"))[1:4] == ["a", "b", "c"]


async def test_a_rule_put_again_keeps_its_place_and_stays_disabled(ledger: Ledger) -> None:
    for name in "ab":
        await ledger.run(push_rules.put_rule, ALICE, "room", rule(name))
    await ledger.run(push_rules.edit_rule, ALICE, "room", "a", {"enabled": False})
    await ledger.run(push_rules.put_rule, ALICE, "room", rule("a", actions=[]))
    assert await _ids(ledger, "room") == ["b", "a"]
    assert await ledger.read(push_rules.rule, ALICE, "room", "a") == {
        "rule_id": "a",
        "actions": [],
        "enabled": False,
        "default": False,
    }


async def test_defaults_can_be_changed_but_not_deleted(ledger: Ledger) -> None:
    with ledger.watch(("user", ALICE)) as watch:
        await ledger.run(push_rules.edit_rule, ALICE, "underride", ".m.rule.message", {"actions": []})
        await watch.wait()
    assert (await ledger.read(push_rules.rule, ALICE, "underride", ".m.rule.message"))["actions"] == []
    assert await ledger.read(push_rules.changed_at, ALICE) == ledger.position
    assert await ledger.read(push_rules.changed_at, BOB) == 0
    with pytest.raises(InvalidParamError):
        await ledger.run(push_rules.drop_rule, ALICE, "underride", ".m.rule.message")


async def test_own_rules_can_be_deleted(ledger: Ledger) -> None:
    await ledger.run(push_rules.put_rule, ALICE, "sender", rule(BOB))
    await ledger.run(push_rules.drop_rule, ALICE, "sender", BOB)
    assert await _ids(ledger, "sender") == []
    with pytest.raises(NotFoundError):
        await ledger.run(push_rules.drop_rule, ALICE, "sender", BOB)
    with pytest.raises(NotFoundError):
        await ledger.run(push_rules.edit_rule, ALICE, "sender", BOB, {"enabled": True})
    with pytest.raises(NotFoundError):
        await ledger.run(push_rules.put_rule, ALICE, "sender", rule("x"), beside=("after", BOB))


@pytest.mark.parametrize("name", [".mine", "a/b", "a\\b"])
async def test_names_of_own_rules_are_restricted(ledger: Ledger, name: str) -> None:
    with pytest.raises(InvalidParamError):
        await ledger.run(push_rules.put_rule, ALICE, "room", rule(name))


async def test_rules_have_a_largest_size(ledger: Ledger) -> None:
    with pytest.raises(TooLargeError):
        await ledger.run(push_rules.put_rule, ALICE, "room", rule("a", pattern="x" * MAX_PUSH_RULES_BYTES))
