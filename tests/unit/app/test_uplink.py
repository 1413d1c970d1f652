from typing import Any

import pytest

from relay.app.uplink import find_in_announcement, find_in_mappings

DOOR = {"address": "9.9.9.9", "port": 443, "wanted_port": 443, "lease_s": 3600, "fault": ""}


def router(**changed: Any) -> dict[str, Any]:
    usual = {"protocol": "PCP", "silent": False, "external_address": "9.9.9.9"}
    return {**usual, "doors": {"client": DOOR}, **changed}


def codes(*routers: dict[str, Any]) -> list[str]:
    return [
        finding.what.partition(":")[0]
        for finding in find_in_mappings({str(each): router for each, router in enumerate(routers)})
    ]


@pytest.mark.parametrize(
    ("routers", "found"),
    [
        ([router()], []),
        ([], ["uplink.no_router"]),
        ([router(silent=True, external_address="", protocol="")], ["uplink.no_mapping"]),
        ([router(external_address="100.64.0.7")], ["uplink.not_public"]),
        ([router(external_address="192.168.0.2")], ["uplink.not_public"]),
        ([router(doors={"client": {**DOOR, "fault": "NOT_AUTHORIZED"}})], ["uplink.mapping_refused"]),
        ([router(doors={"client": {**DOOR, "port": 444}})], ["uplink.other_port"]),
        ([router(), router(silent=True)], ["uplink.no_mapping"]),
    ],
)
def test_what_a_router_gave_or_not_is_judged_by_name(routers: list[dict[str, Any]], found: list[str]) -> None:
    assert codes(*routers) == found


def test_carrier_grade_nat_and_a_second_router_are_told_apart() -> None:
    (carrier,) = find_in_mappings({"192.168.1.1": router(external_address="100.127.0.1")})
    (second,) = find_in_mappings({"192.168.1.1": router(external_address="10.0.0.1")})
    assert "CGNAT" in carrier.what
    assert "a second router" in second.what
    assert "tunnel" in carrier.next_step


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"interfaces": {}}, "no network"),
        ({"services": ""}, "by name only"),
        ({"without": "eth0"}, "refused on eth0"),
    ],
)
def test_why_programs_at_home_do_not_find_the_box_is_said(changed: dict[str, Any], words: str) -> None:
    status = {"interfaces": {"eth0": True}, "services": "_doorstep", "without": "", **changed}
    found = list(find_in_announcement(status))
    assert [words in finding.what for finding in found] == ([True] if words else [])
