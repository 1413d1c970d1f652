import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.limits import MAX_CONSOLE_LINE_BYTES, MAX_CONSOLE_WAITING_BYTES
from relay.console.actions import Leave
from relay.console.checked import add_checksum
from tests.fakes.console_operator import PASSPHRASE, URL, MemoryBox
from tests.fakes.console_person import Person
from tests.fakes.hostile_cable import HostileCable

SETUP = ("setup", "box.example", "anna", "swordfish", "swordfish", "", "", "yes")
LINES = st.sampled_from(
    [
        b"\r",
        b"\r\n",
        b"status\r",
        b"set name box.example\r",
        b"set password\rxyzzy plugh\rxyzzy plugh\r",
        b"setup\rbox.example\ranna\rlong pw 1\rlong pw 1\r\r\r\r",
        b"user add otto\r\nlong pw 1\r\nlong pw 1\r\n",
        b"?se\t \x15",
        b'{"seq":1,"verb":"plan"}\n',
        b'{"seq":2,"verb":"set","settings":{"name":"other.example"}}\r\n',
        b"{" + b"x" * (MAX_CONSOLE_LINE_BYTES + 5) + b"\n",
        b"{ \x03",
        b"\x03",
        b"exit\r",
        b"\x1b[A\x1b[",
        b"factory-reset\rreset\r",
    ]
)
BYTES = st.lists(st.one_of(LINES, st.binary(max_size=10)), max_size=12).map(b"".join)


@settings(max_examples=50, deadline=None)
@given(BYTES, st.lists(st.integers(0, 400), max_size=6), st.booleans(), st.booleans())
def test_how_bytes_are_split_never_matters(data: bytes, cuts: list[int], provisioned: bool, late: bool) -> None:
    # Beyond what may wait it matters when the answer comes: that much is dropped.
    data = data[:MAX_CONSOLE_WAITING_BYTES]
    if not late:
        # Ctrl-C is the one byte for which it matters whether an answer came before it.
        data = data.replace(b"\x03", b"")
    whole, pieces = (Person(MemoryBox(provisioned=provisioned), late=late) for _ in range(2))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    whole.act(whole.session.receive(data))
    for a, b in pairwise(places):
        pieces.act(pieces.session.receive(data[a:b]))
    whole.answer()
    pieces.answer()
    assert (pieces.seen, pieces.kept, pieces.box.asked) == (whole.seen, whole.kept, whole.box.asked)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=30), LINES), max_size=12), st.booleans())
def test_hostile_bytes_leave_a_console_that_works(pieces: list[bytes], late: bool) -> None:
    person = Person(late=late)
    for piece in pieces:
        person.act(person.session.receive(piece))
    person.act(person.session.unplugged())
    person.answer()
    person.send(b"\x03\x03\r")
    person.answer()
    assert "new box> " in person.send(b"\r") or person.box.provisioned()


def test_nothing_is_said_before_the_first_return() -> None:
    person = Person()
    assert person.send(b"login: root\n\x1b[6nAT+CGMI\n") == ""
    assert "not set up yet" in person.send(b"\r")


def test_a_person_who_reads_the_questions_sets_a_box_up() -> None:
    person = Person()
    answer = person.type("", *SETUP)
    assert person.box.users == {"anna": "swordfish"}
    assert URL in answer
    assert "█▀█" in answer
    assert "AB:CD" in answer
    assert answer.endswith("relay> ")
    assert person.kept is None


def test_a_person_who_knows_the_words_sets_a_box_up_and_plan_says_what_is_missing() -> None:
    person = Person()
    assert "missing: name" in person.type("", "plan")
    person.type("set name box.example", "set owner=anna", "set rate.login_burst 5")
    assert "missing: password" in person.type("apply")
    person.type("set password", "swordfish", "swordfish")
    assert "Nothing is missing" in person.type("plan")
    person.type("apply")
    assert person.box.settings == {"rate.login_burst": "5"}
    assert person.box.users == {"anna": "swordfish"}


def test_a_secret_is_not_shown_not_kept_and_not_in_the_history() -> None:
    person = Person()
    person.type("", *SETUP[:5])
    person.send(b"\x03")
    person.type("set password", "swordfish", "swordfish", "show", "plan", "user add otto", "swordfish", "swordfish")
    person.send(b"\x1b[A" * 20)
    assert b"swordfish" not in person.seen
    assert b"***" in person.seen
    assert "swordfish" not in json.dumps(person.kept)


def test_a_board_that_can_keep_the_key_is_proposed_for_it() -> None:
    class Board(MemoryBox):
        def _usual(self, profile: str) -> dict[str, Any]:
            return {**super()._usual(profile), "key": {"source": "tpm", "means": "This board has a TPM."}}

    person = Person(Board())
    person.type("", *SETUP[:-1])
    assert b"This board has a TPM." in person.seen
    person.type("", "yes")
    assert person.box.settings["store.key_source"] == "tpm"


def test_a_passphrase_is_asked_for_when_the_key_becomes_one() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "set store.key_source passphrase")
    assert "nobody can bring it back" in person.type("apply")
    person.type(PASSPHRASE, PASSPHRASE)
    assert person.box.asked[-1]["passphrase"] == PASSPHRASE
    assert "passphrase_now" not in person.box.asked[-1]
    assert PASSPHRASE.encode() not in person.seen


def test_a_box_gets_the_passphrase_that_it_waits_for_and_nobody_sees_it() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert "nothing was changed" in person.type("", "passphrase", "a phrase that they guess")
    assert "It fits" in person.type("passphrase", PASSPHRASE)
    person.send(b"\x1b[A" * 20)
    assert b"phrase that" not in person.seen


def test_a_password_typed_in_the_line_is_refused_and_forgotten() -> None:
    person = Person()
    assert "never typed in the line" in person.type("", "set password swordfish")
    assert "swordfish" not in person.send(b"\x1b[A")
    assert "missing: password" in person.type("", "plan")


def test_the_draft_survives_a_power_cut_without_the_names_of_people() -> None:
    person = Person()
    person.type("", "set name box.example", "set owner anna", "set client 127.0.0.1:80")
    assert person.kept == {"name": "box.example", "client": "127.0.0.1:80"}
    again = Person(kept=person.kept)
    assert "name = box.example" in again.type("", "plan")


def test_two_passwords_that_differ_are_asked_for_again() -> None:
    person = Person()
    assert "not the same" in person.type("", "set password", "long pw 1", "long pw 2")
    person.type("short", "long pw 3", "long pw 3")
    assert "password = ***" in person.type("plan")


def test_a_wrong_answer_to_a_question_is_explained_and_asked_again() -> None:
    person = Person()
    assert "server name" in person.type("", "setup", "no spaces")
    assert "needed" in person.type("")
    assert "owner" in person.type("box.example")


def test_interrupt_leaves_the_questions_and_keeps_the_answers() -> None:
    person = Person()
    person.type("", "setup", "box.example")
    assert person.send(b"\x03").endswith("new box> ")
    assert "name = box.example" in person.type("plan")


def test_setting_the_box_up_ends_a_console_started_for_that() -> None:
    person = Person(leave_when_applied=True)
    person.act(person.session.greet())
    person.type(*SETUP[1:])
    assert person.left == [Leave(applied=True)]


def test_a_refusal_of_the_operator_is_shown_as_it_was_said() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.box.users["anna"] = "x"
    assert "error: the name is taken" in person.type("", "user add anna", "long pw 1", "long pw 1")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("status", "segments: 8"),
        ("doctor", "next: start it"),
        ("show log", "log.level = info"),
        ("set log.level loud", "error: log.level is 'loud'"),
        ("set name other.example", "error: name was fixed"),
        ("set owner", "error: owner was fixed"),
        ("drop name", "name was not planned"),
        ("user list", "@anna:box.example"),
        ("invite", "#invite=t0ken"),
        ("time set 2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z"),
        ("restart", "Restarting."),
        ("setup", "This box is set up"),
        ("apply", "nothing planned"),
        ("terminal x", "utf8 or ascii"),
        ("dance", "there is no 'dance'"),
        ("help", "factory-reset"),
    ],
)
def test_commands_of_a_box_that_is_set_up(line: str, shown: str) -> None:
    person = Person(MemoryBox(provisioned=True))
    person.box.users["anna"] = "long pw 1"
    answer = person.type("", line)
    assert shown in answer
    assert answer.endswith("relay> ")


def test_settings_are_planned_and_applied_at_once() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "set log.level debug", "set client 127.0.0.1:81")
    assert "- log.level = info\r\n+ log.level = debug\r\n+ client.listen" in person.type("plan")
    assert "Saved. The box starts again" in person.type("apply")
    assert person.box.settings == {"log.level": "debug", "client.listen": "127.0.0.1:81"}
    assert person.kept is None
    person.type("set log.level debug")
    assert "Nothing changed" in person.type("apply")


def test_a_plan_that_changes_nothing_says_so() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "set log.level info")
    assert "no difference to what is in force" in person.type("plan")


def test_a_change_on_trial_is_kept_by_a_second_word_or_taken_back() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "set log.level debug")
    assert "goes back by itself in 120 s" in person.type("commit confirmed 2")
    assert "On trial" in person.type("plan")
    person.type("set log.level error")
    assert "error: a change is on trial" in person.type("apply")
    assert "Kept" in person.type("commit")
    assert "Saved" in person.type("commit conf")
    assert person.box.on_trial_s == 300
    assert "Back to" in person.type("rollback")
    assert person.box.settings == {"log.level": "debug"}
    assert "error: there are no earlier" in person.type("rollback")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("commit", "error: nothing is on trial"),
        ("commit confirmed five", "usage: commit"),
        ("commit later", "usage: commit"),
        ("commit confirmed", "nothing planned"),
    ],
)
def test_nothing_is_put_on_trial_by_mistake(line: str, shown: str) -> None:
    person = Person(MemoryBox(provisioned=True))
    assert shown in person.type("", line)


def test_a_new_box_has_nothing_to_go_back_to() -> None:
    person = Person()
    assert "nothing to go back to" in person.type("", "commit confirmed")


def test_commit_alone_does_what_is_planned() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "set log.level debug")
    assert "Saved" in person.type("commit")
    assert person.box.on_trial_s is None


def test_a_reset_needs_the_name_typed() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert "type box.example" in person.type("", "factory-reset")
    assert "Nothing done" in person.type("yes")
    assert person.box.provisioned()
    assert "new again" in person.type("factory-reset", "box.example")
    assert not person.box.provisioned()


def test_an_account_is_closed_only_after_its_name_is_typed_again() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.box.users["anna"] = "x"
    assert "Nothing done" in person.type("", "user deactivate anna", "y")
    person.type("user deactivate anna", "anna")
    assert person.box.users == {}


def test_lines_that_carry_ascii_only_get_codes_drawn_in_ascii() -> None:
    person = Person(MemoryBox(provisioned=True))
    answer = person.type("", "terminal ascii", "invite")
    assert answer.isascii()
    assert "##" in answer


def test_completion_fills_in_what_is_certain_and_lists_the_rest() -> None:
    person = Person()
    person.send(b"\r")
    assert person.send(b"fac\t") == "factory-reset "
    assert person.send(b"\x15us\tp\t").endswith("passwd ")
    assert person.send(b"\x15user \t").split()[-7:-3] == ["add", "deactivate", "list", "passwd"]
    assert person.send(b"\x15set rate.mess\t").endswith("rate.message_")
    assert person.send(b"\x15x\t").endswith("\a")
    assert "set KEY VALUE" in person.send(b"\x15set ?")


def test_what_is_typed_while_the_box_is_busy_is_done_afterwards_within_a_bound() -> None:
    person = Person(late=True)
    person.type("", "status", "plan")
    assert b"missing" not in person.seen
    person.send(b"x" * 2 * MAX_CONSOLE_WAITING_BYTES)
    assert len(person.session._waiting) == MAX_CONSOLE_WAITING_BYTES
    person.answer()
    assert person.seen.count(b"missing: name") == 2


def test_interrupt_gives_the_prompt_back_when_an_answer_does_not_come() -> None:
    person = Person(late=True)
    person.type("", "status")
    assert person.send(b"\x03").endswith("new box> ")
    assert person.abandoned == [1]
    person.answer()
    assert b"not set up\r\n" not in person.seen


def test_a_late_answer_to_an_abandoned_request_is_not_taken_for_another() -> None:
    person = Person(late=True)
    person.type("", "status")
    person.send(b"\x03")
    person.type("doctor")
    person.answer()
    assert b"the box is not running" in person.seen


def test_unplugging_forgets_the_line_and_the_history_and_is_silent_again() -> None:
    person = Person()
    person.type("", "set name box.example")
    person.send(b"half a li")
    person.act(person.session.unplugged())
    assert person.send(b"noise") == ""
    assert "new box> " in person.send(b"\r")
    assert person.send(b"\x1b[A") == "\a"
    assert "name = box.example" in person.type("", "plan")


def test_unplugging_while_the_box_is_set_up_does_not_undo_it() -> None:
    person = Person(late=True)
    person.type("", "setup")
    person.answer()
    person.type(*SETUP[1:])
    seen = person.seen
    person.act(person.session.unplugged())
    person.answer()
    assert person.box.provisioned()
    assert person.seen == seen
    assert person.kept is None
    assert person.send(b"\r").endswith("relay> ")


def test_exit_falls_silent() -> None:
    person = Person()
    person.type("", "exit")
    assert person.left == [Leave(applied=False)]
    assert person.send(b"status\n") == ""


def test_no_line_of_the_help_is_wider_than_a_terminal() -> None:
    person = Person()
    person.type("", "help", "?")
    person.send(b"set ?\t")
    assert all(len(line) < 80 for line in person.screen.lines)


def test_an_appliance_is_set_up_without_knowing_addresses() -> None:
    person = Person(kept={"profile": "toaster", "federation": "[::]:18448"})
    seen = person.type("", "setup", "box.example", "anna", "swordfish", "swordfish")
    assert "servers reach it at [::]:18448, apps at [::]:443" in seen
    assert "Owner: @anna:box.example" in person.type("yes")


@pytest.mark.parametrize(
    ("typed", "planned"),
    [
        ([""], None),
        (["own"], None),
        (["letsencrypt"], "letsencrypt"),
        (["yes", "https://acme.example/dir"], "https://acme.example/dir"),
    ],
)
def test_an_appliance_with_a_public_name_is_offered_a_certificate_by_one_question(
    typed: list[str], planned: str | None
) -> None:
    person = Person(kept={"profile": "toaster"})
    seen = person.type("", "setup", "box.family.net", "anna", "swordfish", "swordfish")
    assert seen.endswith("certificate [own]: ")
    assert "terms" in seen
    for answer in typed:
        seen = person.type(answer)
    assert seen.endswith("a name that can never change? [yes] ")
    person.type("")
    (asked,) = (fields for fields in person.box.asked if fields["verb"] == "provision")
    assert asked.get("acme") == planned


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("box.family.net", {"acme": "letsencrypt"}),
        ("box.family.net", {"tls_cert": "/etc/cert.pem"}),
        ("box.local", {}),
        ("192.0.2.7", {}),
        ("[2001:db8::7]:8448", {}),
        ("box", {}),
    ],
)
def test_nobody_is_asked_for_a_certificate_that_is_planned_or_that_no_authority_gives(
    name: str, kept: dict[str, str]
) -> None:
    person = Person(kept={"profile": "toaster", **kept})
    seen = person.type("", "setup", name, "anna", "swordfish", "swordfish")
    assert seen.endswith("a name that can never change? [yes] ")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.lists(LINES, max_size=10))
def test_a_cable_that_damages_what_it_carries_makes_nothing_happen_that_takes_a_checksum(
    seed: int, one_in: int, lines: list[bytes]
) -> None:
    person = Person(MemoryBox(provisioned=True))
    cable = HostileCable(seed, one_in=one_in)
    # Nobody else of this test makes that account.
    wanted = add_checksum(b'{"seq":7,"verb":"user_add","name":"wilma","password":"long pw 1"}') + b"\n"
    for line in lines:
        person.send(cable.carry(line) + cable.carry(wanted))
        assert person.box.users.get("wilma", "long pw 1") == "long pw 1"
    person.act(person.session.unplugged())
    assert Person.replies(person.send(b"\x03\n" + wanted))[-1]["ok"]
    assert sum(fields.get("name") == "wilma" and fields["verb"] == "user_add" for fields in person.box.asked) == 1


def test_a_box_is_put_right_by_words() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert "nothing to repair" in person.type("", "repair")
    assert "until restart is said again" in person.type("restart safe")
    assert "usage: restart [safe]" in person.type("restart now")
    assert "Nothing done" in person.type("release back", "no")
    assert "comes back" in person.type("release back", "yes")
    asked = [fields["verb"] for fields in person.box.asked]
    assert asked == ["repair", "restart_safe", "release_back"]
