import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.limits import MAX_CONSOLE_LINE_BYTES, MAX_CONSOLE_REMEMBERED_REPLIES
from tests.fakes.console_operator import PASSPHRASE, MemoryBox
from tests.fakes.console_person import Person

BASICS = {"name": "box.example", "owner": "anna", "password": "swordfish"}


def test_a_program_sets_a_box_up_without_a_banner_or_prompt() -> None:
    person = Person()
    assert person.ask(seq=1, verb="hello")["result"] == {
        "console": 1,
        "provisioned": False,
        "locked": False,
        "button": False,
        "clock_set": True,
        "crc": "crc32",
        "secret": ["password"],
    }
    assert person.ask(seq=2, verb="set", settings={"name": "box.example"})["result"]["missing"] == ["owner", "password"]
    person.ask(seq=3, verb="set", settings=BASICS)
    assert person.ask(seq=4, verb="plan")["result"]["planned"]["password"] == "***"
    applied = person.ask(seq=5, verb="apply")
    assert applied["seq"] == 5
    assert applied["result"]["owner"] == "@anna:box.example"
    assert not [name for name in applied["result"] if name.startswith("qr")]
    assert all(line.startswith("{") for line in person.seen.decode().splitlines())
    assert b"swordfish" not in person.seen


def test_a_request_that_is_repeated_is_answered_again_and_not_done_again() -> None:
    person = Person(MemoryBox(provisioned=True))
    request = {"seq": "a7", "verb": "user_add", "name": "otto", "password": "long pw 1"}
    first = person.ask(**request)
    assert first["ok"]
    assert person.ask(**request) == first
    assert len(person.box.asked) == 1
    assert not person.ask(**{**request, "seq": "a8"})["ok"]


def test_a_box_that_was_reset_is_not_set_up_from_memory() -> None:
    person = Person()
    for _ in range(2):
        assert person.ask(seq=1, verb="set", settings=BASICS)["result"]["missing"] == []
        assert person.ask(seq=2, verb="apply")["ok"]
        assert person.ask(seq=3, verb="hello")["result"]["provisioned"]
        reset = person.ask(seq=4, verb="factory_reset", confirm="box.example")
        assert reset["ok"]
        assert person.ask(seq=4, verb="factory_reset", confirm="box.example") == reset
    assert [asked["verb"] for asked in person.box.asked] == ["provision", "factory_reset"] * 2


def test_a_repeated_number_with_another_request_is_another_request() -> None:
    person = Person(MemoryBox(provisioned=True))
    for name in ("otto", "emma"):
        assert person.ask(seq=1, verb="user_add", name=name, password="long pw 1")["ok"]
    assert set(person.box.users) == {"otto", "emma"}


def test_what_is_read_is_always_read_afresh() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert person.ask(seq=1, verb="user_list")["result"]["users"] == []
    person.box.users["anna"] = "long pw 1"
    assert len(person.ask(seq=1, verb="user_list")["result"]["users"]) == 1


def test_a_program_that_lost_the_cable_learns_what_came_of_its_request() -> None:
    person = Person(MemoryBox(provisioned=True), late=True)
    line = json.dumps({"seq": 9, "verb": "user_add", "name": "otto", "password": "long pw 1"}).encode()
    person.send(line + b"\n")
    person.act(person.session.unplugged())
    person.answer()
    assert person.seen == b""
    assert Person.replies(person.send(line + b"\n")) == [
        {"seq": 9, "ok": True, "result": {"user": "@otto:box.example"}}
    ]
    assert len(person.box.asked) == 1


def test_after_a_new_start_of_the_console_a_program_can_ask_what_happened() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.ask(seq=17, verb="user_add", name="otto", password="long pw 1")
    person.ask(seq="otto", verb="user_add", name="otto", password="long pw 1")
    person.ask(seq=19, verb="plan")
    assert "otto" not in json.dumps(person.done)
    again = Person(person.box, done=person.done)
    for of, state, code in ((17, "done", ""), ("otto", "failed", "conflict"), (18, "unknown", "")):
        happened = again.ask(seq=1, verb="happened", of=of)["result"]
        assert (happened["state"], happened["code"]) == (state, code)
    assert again.ask(seq=1, verb="happened", of=17)["result"]["verb"] == "user_add"
    # The same number from another program, or another day, is another request.
    assert again.ask(seq=17, verb="user_add", name="emma", password="long pw 1")["ok"]


def test_a_request_that_the_power_cut_interrupted_is_known_to_have_begun() -> None:
    person = Person(MemoryBox(provisioned=True), late=True)
    person.send(b'{"seq":17,"verb":"user_passwd","name":"otto","password":"long pw 1"}\n')
    again = Person(person.box, done=person.done)
    assert again.ask(seq=1, verb="happened", of=17)["result"]["state"] == "begun"


def test_nothing_is_known_of_requests_before_a_reset() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.ask(seq=1, verb="restart")
    person.ask(seq=2, verb="factory_reset", confirm="box.example")
    assert person.done == {}


def test_secret_fields_are_flagged() -> None:
    result = Person().ask(seq=1, verb="schema")["result"]
    verbs, basics = result["verbs"], result["basics"]
    assert [name for name, basic in basics.items() if basic["needed"]] == ["name", "owner", "password"]
    assert [name for name, basic in basics.items() if basic["secret"]] == ["password"]
    assert "terms" in basics["acme"]["means"]
    assert verbs["user_add"]["fields"]["password"] == {"secret": True, "needed": True}
    assert verbs["wifi_join"]["fields"]["password"]["secret"]
    assert verbs["plan"] == {"kind": "reads", "fields": {}}


def test_a_passphrase_is_tried_each_time_and_not_remembered() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert not person.ask(seq=1, verb="passphrase", passphrase="a guess")["ok"]
    assert person.ask(seq=1, verb="passphrase", passphrase=PASSPHRASE)["ok"]
    assert person.session._machine._remembered == {}


def test_remembered_replies_are_bounded() -> None:
    person = Person(MemoryBox(provisioned=True))
    for number in range(MAX_CONSOLE_REMEMBERED_REPLIES + 5):
        person.ask(seq=number, verb="restart")
    assert len(person.session._machine._remembered) == MAX_CONSOLE_REMEMBERED_REPLIES
    assert len(person.done) == MAX_CONSOLE_REMEMBERED_REPLIES


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ('{"a":' * 800, "not JSON"),
        ('{"seq":1}', "no such verb"),
        ('{"seq":1,"verb":"provision","name":"x"}', "no such verb"),
        ('{"seq":1,"verb":"stop"}', "no such verb"),
        ('{"seq":[1],"verb":"plan"}', "seq is"),
        ('{"seq":1,"verb":"set"}', "set needs settings"),
        ('{"seq":true,"verb":"plan"}', "seq is"),
        ('{"seq":1,"verb":"plan","more":1}', "plan takes no more"),
        ('{"seq":1,"verb":"happened","of":[]}', "of is the seq"),
        ('{"seq":1,"verb":"set","settings":{"name":5}}', "settings are texts"),
        ('{"seq":1,"verb":"set","settings":{"name":"no spaces"}}', "server name"),
        ('{"seq":1,"verb":"set","settings":{"x.y":"1"}}', "not a setting"),
        ('{"seq":1,"verb":"apply"}', "missing: name, owner, password"),
        ('{"seq":1,"verb":"' + "x" * MAX_CONSOLE_LINE_BYTES + '"}', f"longer than {MAX_CONSOLE_LINE_BYTES} bytes"),
    ],
)
def test_a_wrong_line_gets_a_clear_error_and_the_next_one_works(line: str, message: str) -> None:
    person = Person()
    (reply,) = Person.replies(person.send(line.encode() + b"\r\n"))
    assert not reply["ok"]
    assert message in reply["message"]
    assert reply["code"]
    assert person.ask(seq=2, verb="plan")["ok"]


def test_a_set_that_fails_in_the_middle_plans_nothing() -> None:
    person = Person()
    person.ask(seq=1, verb="set", settings={"name": "box.example", "x.y": "1"})
    assert person.ask(seq=2, verb="plan")["result"]["planned"] == {}


@pytest.mark.parametrize(
    "before",
    [b"", b"noise", b"\r", b"\rhalf a li", b"\rsetup\r", b"\rset password\rsecr", b'{"half', b"\r\x1b[", b"\r\xe2\x82"],
)
def test_interrupt_and_newline_bring_a_line_in_any_state_to_where_a_program_is_heard(before: bytes) -> None:
    person = Person()
    person.send(before)
    answer = person.send(b'\x03\n{"seq":1,"verb":"hello"}\n')
    assert Person.replies(answer)[-1]["seq"] == 1
    assert answer.endswith("}\r\n")


def test_settings_are_taken_back() -> None:
    person = Person()
    person.ask(seq=1, verb="set", settings={"name": "box.example"})
    person.ask(seq=2, verb="drop", settings={"name": ""})
    assert person.kept is None


def test_a_program_may_cut_in_at_a_prompt_and_gets_whole_lines() -> None:
    person = Person()
    person.send(b"\r")
    answer = person.send(b'{"seq":1,"verb":"hello"}\r\n')
    assert answer.startswith("\r\n{")
    assert answer.endswith("}\r\n")
    assert "new box> " in person.send(b"\r")


def test_a_program_sees_what_would_change_and_puts_it_on_trial() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.ask(seq=1, verb="set", settings={"log.level": "debug"})
    assert person.ask(seq=2, verb="plan")["result"]["changes"] == {"log.level": {"is": "info", "planned": "debug"}}
    assert person.ask(seq=3, verb="apply", confirm_s=60)["result"]["goes_back_in_s"] == 60
    assert person.ask(seq=4, verb="plan")["result"]["goes_back_in_s"] == 60
    assert person.ask(seq=5, verb="commit")["result"] == {"kept": True}
    assert person.ask(seq=5, verb="commit")["result"] == {"kept": True}
    assert not person.ask(seq=6, verb="commit")["ok"]
    assert person.ask(seq=7, verb="rollback")["ok"]
    assert person.box.settings == {}


def test_a_new_box_is_not_set_up_on_trial() -> None:
    person = Person()
    person.ask(seq=1, verb="set", settings=BASICS)
    assert "nothing to go back to" in person.ask(seq=2, verb="apply", confirm_s=60)["message"]


class AgreeableBox(MemoryBox):
    def carry_out(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = st.sampled_from(["seq", "verb", "settings", "name", "password", "confirm"])
VERBS = st.sampled_from(["set", "drop", "plan", "apply", "status", "hello", "factory_reset", "provision"])


@given(st.dictionaries(NAMES, JSON | VERBS))
def test_any_object_gets_exactly_one_reply(fields: dict[str, Any]) -> None:
    person = Person(AgreeableBox())
    replies = Person.replies(person.send(json.dumps(fields).encode() + b"\n"))
    assert len(replies) == 1
    assert isinstance(replies[0]["ok"], bool)


def test_a_program_plans_an_address_and_is_told_what_is_wrong_with_it() -> None:
    person = Person()
    settings = {"network.eth0.address": "192.0.2.5/24", "network.eth0.gateway": "192.0.3.1"}
    assert person.ask(seq=1, verb="set", settings=settings)["ok"]
    plan = person.ask(seq=2, verb="plan")["result"]
    assert plan["changes"]["network.eth0.address"] == {"is": "dhcp", "planned": "192.0.2.5/24"}
    assert "not in the network" in plan["problems"][0]
    refused = person.ask(seq=3, verb="set", settings={"network.eth0.address": "192.0.2.0/24"})
    assert refused["code"] == "config.invalid"
    assert person.ask(seq=4, verb="apply", confirm_s=60)["result"]["goes_back_in_s"] == 60
    assert person.ask(seq=5, verb="commit")["ok"]
