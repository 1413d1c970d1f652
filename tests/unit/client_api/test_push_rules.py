from typing import Any

import pytest

from tests.unit.client_api.conftest import Flat

GLOBAL = "v3/pushrules/global"


async def test_all_rules_are_read_at_every_level(flat: Flat) -> None:
    status, everything = await flat.ask("GET", "v3/pushrules/")
    assert status == 200
    assert await flat.ask("GET", "v3/pushrules") == (200, everything)
    assert await flat.ask("GET", f"{GLOBAL}/") == (200, everything["global"])
    rule = everything["global"]["override"][0]
    assert await flat.ask("GET", f"{GLOBAL}/override/.m.rule.master") == (200, rule)
    assert await flat.ask("GET", f"{GLOBAL}/override/.m.rule.master/enabled") == (200, {"enabled": False})
    assert await flat.ask("GET", f"{GLOBAL}/override/.m.rule.master/actions") == (200, {"actions": []})


async def test_rules_are_added_changed_and_deleted(flat: Flat) -> None:
    path = f"{GLOBAL}/content/cake"
    assert await flat.ask("PUT", path, {"pattern": "cake", "actions": ["notify"]}) == (200, {})
    assert await flat.ask("PUT", f"{path}/enabled", {"enabled": False}) == (200, {})
    assert await flat.ask("PUT", f"{path}/actions", {"actions": [{"set_tweak": "highlight"}]}) == (200, {})
    assert await flat.ask("GET", path) == (
        200,
        {
            "rule_id": "cake",
            "pattern": "cake",
            "actions": [{"set_tweak": "highlight"}],
            "enabled": False,
            "default": False,
        },
    )
    await flat.ask("PUT", f"{GLOBAL}/content/pie?after=cake", {"pattern": "pie", "actions": []})
    _, rules = await flat.ask("GET", f"{GLOBAL}/")
    assert [rule["rule_id"] for rule in rules["content"]] == ["cake", "pie"]
    assert await flat.ask("DELETE", path) == (200, {})
    assert await flat.refused("GET", path) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("GET", "strange/x", None, (404, "M_NOT_FOUND")),
        ("GET", "room/x/enabled", None, (404, "M_NOT_FOUND")),
        ("PUT", "room/x", {}, (400, "M_MISSING_PARAM")),
        ("PUT", "room/x", {"actions": "notify"}, (400, "M_BAD_JSON")),
        ("PUT", "room/x", {"actions": [5]}, (400, "M_INVALID_PARAM")),
        ("PUT", "room/.x", {"actions": []}, (400, "M_INVALID_PARAM")),
        ("PUT", "content/x", {"actions": []}, (400, "M_MISSING_PARAM")),
        ("PUT", "content/x", {"actions": [], "pattern": 5}, (400, "M_INVALID_PARAM")),
        ("PUT", "override/x", {"actions": [], "conditions": [5]}, (400, "M_INVALID_PARAM")),
        ("PUT", "room/x?before=y", {"actions": []}, (404, "M_NOT_FOUND")),
        ("PUT", "room/x/enabled", {"enabled": True}, (404, "M_NOT_FOUND")),
        ("PUT", "override/.m.rule.master/enabled", {"enabled": "yes"}, (400, "M_INVALID_PARAM")),
        ("DELETE", "override/.m.rule.master", None, (400, "M_INVALID_PARAM")),
        ("DELETE", "room/x", None, (404, "M_NOT_FOUND")),
    ],
)
async def test_bad_requests_are_refused_by_name(
    flat: Flat, method: str, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    assert await flat.refused(method, f"{GLOBAL}/{path}", body) == refusal
