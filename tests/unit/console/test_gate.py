import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.limits import PRESENCE_S, UNLOCKED_IDLE_S
from relay.console.gate import FREE_COMMANDS, FREE_VERBS, Gate, LockedError
from relay.console.grammar import COMMANDS
from relay.console.improv import Command, Error, State, render_error, render_result, render_state
from relay.console.verbs import VERBS, Kind
from tests.fakes.console_operator import OWNER_SECRET, MemoryBox
from tests.fakes.console_person import MemoryGuard, Person
from tests.unit.console.test_improv import rpc

WIFI = rpc(Command.SEND_WIFI, b"\x04home\x0dcorrect horse") + b"\n"
CHANGES = {
    "set log.level debug",
    "drop log.level",
    "apply",
    "user add otto",
    "user list",
    "user passwd anna",
    "user deactivate anna",
    "invite",
    "wifi join home",
    "time set 2026-11-23T12:00:00Z",
    "restart",
    "factory-reset",
}


@pytest.fixture
def person() -> Person:
    """Return somebody at the cable of a box that has an owner and a button."""
    box = MemoryBox(provisioned=True, locks=True)
    box.users["anna"] = OWNER_SECRET
    person = Person(box)
    person.guard.button = True
    return person


def request(verb: str) -> dict[str, Any]:
    """Return a request of `verb` with all the fields that it needs."""
    needed = [field.name for field in VERBS[verb].fields if field.needed] if verb in VERBS else []
    return {"seq": 2, "verb": verb, **{name: {} if name == "settings" else "x" for name in needed}}


def changed(box: MemoryBox) -> list[str]:
    return [fields["verb"] for fields in box.asked if fields["verb"] not in FREE_VERBS]


@pytest.mark.parametrize("line", sorted(CHANGES))
def test_a_locked_box_asks_for_its_owner_before_every_change(person: Person, line: str) -> None:
    assert "The owner's password" in person.type("", line)
    assert "Nothing done" in person.type("")
    assert person.type(line, "no idea 1").startswith("\r\nerror: this is not the owner's password")
    assert changed(person.box) == []
    assert person.kept is None


@pytest.mark.parametrize(
    "line",
    [
        "status",
        "doctor",
        "show",
        "plan",
        "network",
        "wifi scan",
        "help",
        "terminal ascii",
        "setup",
        "lock",
        "passphrase",
    ],
)
def test_looking_is_free(person: Person, line: str) -> None:
    assert "owner's password" not in person.type("", line).replace("allow changes: the owner's password is asked", "")


def test_what_is_not_known_to_be_free_is_locked() -> None:
    names = {command.name for command in COMMANDS}
    assert names >= FREE_COMMANDS
    assert {line.split(" ")[0] for line in CHANGES} | {name.split(" ")[0] for name in FREE_COMMANDS} <= {
        name.split(" ")[0] for name in names
    }
    gate = Gate(MemoryGuard(MemoryBox(provisioned=True, locks=True)), lambda: 0.0)
    assert {name for name, verb in VERBS.items() if verb.kind is Kind.READS} >= FREE_VERBS & VERBS.keys()
    for verb in (VERBS.keys() | {"anything"}) - FREE_VERBS:
        with pytest.raises(LockedError):
            gate.require(verb)
        with pytest.raises(LockedError):
            gate.admit({"verb": verb})
    assert gate.stops("anything")


def test_the_owner_is_asked_once_and_the_command_goes_on(person: Person) -> None:
    person.type("", "user add otto", OWNER_SECRET, "long pw 1", "long pw 1")
    assert person.box.users["otto"] == "long pw 1"
    assert "@otto" in person.type("user list")
    assert OWNER_SECRET.encode() not in person.seen


def test_unlock_and_lock(person: Person) -> None:
    assert "Changes take the owner's password" in person.type("")
    assert "Changes are allowed until" in person.type("unlock", OWNER_SECRET)
    assert "Changes are allowed until" in person.type("unlock")
    assert "Restarting" in person.type("restart")
    assert "Locked." in person.type("lock")
    assert "owner's password" in person.type("restart")


@pytest.mark.parametrize("end", ["unplug", "exit", "idle"])
def test_the_gate_falls_shut_with_the_session(person: Person, end: str) -> None:
    person.type("", "unlock", OWNER_SECRET, "user list")
    if end == "unplug":
        person.act(person.session.unplugged())
    elif end == "exit":
        person.type("exit")
    else:
        person.guard.now_s += UNLOCKED_IDLE_S + 1
        assert "Locked: nobody was here" in person.type("")
    person.send(b"\r")
    assert "owner's password" in person.type("restart")
    assert changed(person.box) == ["user_list"]
    assert "user list" not in person.send(b"\x03\x1b[A\x1b[A\x1b[A")


def test_who_goes_on_typing_is_not_locked_out(person: Person) -> None:
    person.type("", "unlock", OWNER_SECRET)
    for _ in range(5):
        person.guard.now_s += UNLOCKED_IDLE_S - 1
        assert "Restarting" in person.type("restart")


def test_a_new_box_is_open_and_stays_so_for_whoever_set_it_up() -> None:
    person = Person(MemoryBox(locks=True))
    person.type("", "setup", "box.example", "anna", "swordfish", "swordfish", "", "", "yes")
    assert person.box.claimed()
    assert "Restarting" in person.type("restart")
    person.act(person.session.unplugged())
    assert "owner's password" in person.type("", "restart")


def test_unplugged_while_the_box_is_set_up_the_next_one_has_to_prove_it() -> None:
    person = Person(MemoryBox(locks=True), late=True)
    person.type("", "set name box.example", "set owner anna", "set password", "swordfish", "swordfish", "apply")
    person.act(person.session.unplugged())
    person.answer()
    assert person.box.claimed()
    person.type("", "restart")
    person.answer()
    assert changed(person.box) == ["provision"]


def test_the_button_opens_for_two_minutes_and_answers_the_question(person: Person) -> None:
    person.type("", "user add otto")
    person.guard.allowed_until = person.guard.now_s + PRESENCE_S
    person.act(person.session.told("The button was held."))
    assert person.seen.decode().endswith("press Enter): ")
    assert "Password: " in person.type("")
    person.send(b"\x03")
    person.guard.now_s += PRESENCE_S
    assert "owner's password" in person.type("restart")


# Programs


def test_a_program_is_refused_with_a_stable_code_and_unlocks(person: Person) -> None:
    hello = person.ask(seq=1, verb="hello")["result"]
    assert (hello["locked"], hello["button"], hello["clock_set"]) == (True, True, True)
    for verb in sorted(VERBS.keys() - FREE_VERBS):
        reply = person.ask(**request(verb))
        assert (reply["ok"], reply["code"], reply["fault"], reply["retryable"]) == (
            False,
            "console.locked",
            "user",
            True,
        ), verb
    assert changed(person.box) == []
    assert not person.ask(seq=3, verb="unlock", secret="wrong")["ok"]
    assert not person.ask(seq=3, verb="unlock")["ok"]
    assert person.ask(seq=4, verb="unlock", secret=OWNER_SECRET)["result"] == {"locked": False}
    assert person.ask(seq=5, verb="restart")["ok"]
    assert person.ask(seq=6, verb="lock")["result"] == {"locked": True}
    assert person.ask(seq=7, verb="restart")["code"] == "console.locked"


def test_what_was_answered_to_the_owner_is_not_answered_again_to_somebody_else(person: Person) -> None:
    person.ask(seq=1, verb="unlock", secret=OWNER_SECRET)
    assert person.ask(seq=2, verb="invite_create")["result"]["token"] == "t0ken"
    person.act(person.session.unplugged())
    assert person.ask(seq=2, verb="invite_create")["code"] == "console.locked"
    assert person.ask(seq=1, verb="unlock", secret="wrong")["ok"] is False


def test_a_program_cannot_reach_the_operators_own_verbs(person: Person) -> None:
    for verb in ("owner_check", "reset_wait", "button_reset", "provision"):
        assert person.ask(seq=1, verb=verb, secret="x")["code"] == "input.invalid"


# Browsers


def test_a_browser_looks_at_a_locked_box_and_changes_nothing(person: Person) -> None:
    refused = render_error(Error.NONE) + render_error(Error.NOT_AUTHORIZED)
    for packet in (WIFI, rpc(Command.HOSTNAME, b"oma"), rpc(Command.DEVICE_NAME, b"Oma")):
        before = len(person.seen)
        person.act(person.session.receive(packet))
        assert person.seen[before:] == refused
    assert changed(person.box) == []
    person.act(person.session.receive(rpc(Command.HOSTNAME)))
    assert person.seen.endswith(render_result(Command.HOSTNAME, ["doorstep"]))
    person.guard.allowed_until = person.guard.now_s + 1
    person.act(person.session.receive(WIFI))
    assert render_state(State.PROVISIONED) in person.seen
    assert person.box.network == "home"


def test_who_unlocked_in_a_terminal_may_go_on_in_a_browser(person: Person) -> None:
    person.type("", "unlock", OWNER_SECRET)
    person.act(person.session.receive(WIFI))
    assert person.box.network == "home"


# The clock


def test_a_clock_that_was_never_set_may_be_set_by_anybody_and_the_greeting_asks_for_it(person: Person) -> None:
    person.guard.clock_set = False
    assert "time set YYYY" in person.type("")
    assert "2026-11-23T12:00:00Z" in person.type("time set 2026-11-23T12:00:00Z")
    person.guard.clock_set = True
    assert "owner's password" in person.type("time set 2026-11-23T12:00:00Z")


def test_a_program_that_says_hello_brings_the_time_where_it_is_needed(person: Person) -> None:
    assert person.ask(seq=1, verb="hello", utc="2026-11-23T12:00:00Z")["ok"]
    assert person.box.asked == []
    person.guard.clock_set = False
    assert person.ask(seq=2, verb="hello", utc="2026-11-23T12:00:00Z")["result"]["clock_set"] is False
    assert person.box.asked == [{"verb": "time_set", "utc": "2026-11-23T12:00:00Z"}]


# Forgetting everything


def test_who_forgot_the_password_holds_the_button(person: Person) -> None:
    assert "owner's password" in person.type("", "factory-reset")
    person.guard.allowed_until = person.guard.now_s + PRESENCE_S
    assert "type box.example" in person.type("")
    assert "new again" in person.type("box.example")
    assert person.box.waits == 0


def test_without_a_button_a_reset_takes_the_typed_name_and_a_wait_in_sight(person: Person) -> None:
    person.guard.button = False
    assert "Nothing done" in person.type("", "factory-reset", "yes")
    assert person.box.waits == 0
    assert "new again" in person.type("factory-reset", "box.example")
    assert person.box.waits == 1
    assert not person.box.provisioned()


@pytest.mark.parametrize("machine", [False, True])
@pytest.mark.parametrize("end", ["unplug", "interrupt"])
def test_unplugging_or_interrupting_stops_the_wait_and_nothing_is_forgotten(machine: bool, end: str) -> None:
    person = Person(MemoryBox(provisioned=True, locks=True), late=True)
    if machine:
        person.send(json.dumps({"seq": 1, "verb": "factory_reset", "confirm": "box.example"}).encode() + b"\n")
    else:
        person.type("", "factory-reset")
        person.answer()
        person.type("box.example")
    assert [ask.fields["verb"] for ask in person.open] == ["reset_wait"]
    if end == "unplug":
        person.act(person.session.unplugged())
    else:
        person.send(b"\x03")
        assert person.abandoned
    person.answer()
    person.send(b"\x03\x03\n")
    person.answer()
    assert person.box.provisioned()
    assert person.ask_later(seq=2, verb="hello")["result"]["locked"] is True


def test_a_program_waits_for_a_reset_too_and_the_wait_counts_once() -> None:
    person = Person(MemoryBox(provisioned=True, locks=True))
    assert person.ask(seq=1, verb="factory_reset", confirm="other.example")["ok"] is False
    assert person.box.waits == 1
    assert person.ask(seq=2, verb="factory_reset", confirm="box.example")["ok"] is True
    assert person.box.waits == 2


def test_after_a_reset_by_the_button_the_plan_is_forgotten_too(person: Person) -> None:
    person.type("", "unlock", OWNER_SECRET, "set log.level debug")
    person.box.server = ""
    person.act(person.session.was_reset())
    assert person.kept is None
    assert person.seen.decode().endswith("new box> ") or "new again" in person.seen.decode()
    assert "missing: name" in person.type("", "plan")


def asked(verb: str) -> bytes:
    return b"\x03\n" + json.dumps(request(verb)).encode() + b"\n"


TYPED = st.sampled_from([f"{line}\r".encode() for line in sorted(CHANGES)] + [b"yes\r", b"\r", b"\x03", WIFI])
ASKED = st.sampled_from(sorted(VERBS.keys() | {"provision", "owner_check", "reset_wait"}))


@settings(max_examples=50)
@given(st.lists(TYPED | ASKED | st.binary(max_size=8), max_size=12))
def test_nothing_that_comes_down_the_line_changes_a_locked_box(pieces: list[bytes | str]) -> None:
    person = Person(MemoryBox(provisioned=True, locks=True))
    person.guard.button = True
    for piece in pieces:
        person.act(person.session.receive(asked(piece) if isinstance(piece, str) else piece))
    assert changed(person.box) == []
    assert person.kept is None
