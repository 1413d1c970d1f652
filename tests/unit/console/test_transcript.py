import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.base.limits import MAX_TRANSCRIPT_BYTES
from relay.console.improv import Command
from relay.console.transcript import Transcript, names_secret
from tests.fakes.console_operator import OWNER_SECRET, MemoryBox
from tests.fakes.console_person import Person
from tests.unit.console.test_improv import rpc

# Letters that no word of the console has.
SECRETS = st.text("ŐŰŁĐÞ", min_size=8, max_size=20)


def wifi(ssid: str, password: str) -> bytes:
    texts = (ssid.encode(), password.encode())
    return rpc(Command.SEND_WIFI, b"".join(bytes([len(text)]) + text for text in texts)) + b"\n"


def line(**fields: object) -> bytes:
    return b"\x03\n" + json.dumps(fields).encode() + b"\n"


def test_a_session_can_be_read_again() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "status", "set log.level debug", "plan")
    lines = person.type("show transcript").splitlines()
    assert "relay> status" in lines
    assert "ledger" in lines
    assert "relay> set log.level debug" in lines


def test_a_program_gets_it_too_and_results_are_not_in_it() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.ask(seq=1, verb="invite_create")
    person.ask(seq=2, verb="nonsense", anything="something private")
    lines = person.ask(seq=3, verb="transcript")["result"]["lines"]
    assert lines[:2] == ['> {"seq": 1, "verb": "invite_create"}', '< {"seq": 1, "ok": true}']
    assert lines[2:4] == [
        '> {"seq": 2, "verb": "nonsense", "anything": "***"}',
        '< {"seq": 2, "ok": false, "code": "input.invalid"}',
    ]


def test_an_invitation_is_shown_and_not_kept() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert "t0ken" in person.type("", "invite")
    assert "t0ken" not in person.type("show transcript")


def test_whoever_comes_next_finds_nothing() -> None:
    for end in ("exit", "unplug"):
        person = Person(MemoryBox(provisioned=True))
        person.type("", "status")
        if end == "exit":
            person.type("exit")
        else:
            person.act(person.session.unplugged())
        assert "status\r" not in person.type("", "show transcript").partition("transcript\r\n")[2]


def test_a_password_typed_where_a_command_belongs_is_not_kept() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "correct horse battery")
    assert "relay> *** (no command)" in person.type("show transcript")
    assert not [kept for kept in person.session._transcript.lines() if "battery" in kept]


@given(st.lists(st.integers(0, MAX_TRANSCRIPT_BYTES // 4 - 1), max_size=12))
def test_it_is_bounded_and_the_newest_stays(lengths: list[int]) -> None:
    transcript = Transcript()
    for text in ("x" * length for length in lengths):
        transcript.note(text)
        assert transcript.lines()[-1:] == [text]
    assert sum(len(text.encode()) + 1 for text in transcript.lines()) <= MAX_TRANSCRIPT_BYTES


@pytest.mark.parametrize("key", ["password", "wifi.PSK", "dns.tsig_secret", "acme.token", "store.passphrase"])
def test_secrets_are_known_by_their_names(key: str) -> None:
    assert names_secret(key)
    assert not names_secret("store.key_file")


@settings(max_examples=15)
@given(SECRETS, st.booleans())
def test_no_secret_is_in_history_transcript_draft_or_log(secret: str, provisioned: bool) -> None:
    person = Person(MemoryBox(provisioned=provisioned, locks=provisioned))
    person.box.owner_secret = secret
    typed = "" if provisioned else "set password"
    person.type("", "unlock", secret, "user add otto", secret, secret, typed, secret, secret)
    person.type(f"set password {secret}", f"set password={secret}", "wifi join home", secret, secret)
    person.type("lock", "user add emma", secret + "x", "", "plan", "show")
    person.send(line(seq=1, verb="unlock", secret=secret))
    person.send(line(seq=2, verb="set", settings={"password": secret}))
    person.send(line(seq=3, verb="user_add", name="emma", password=secret))
    person.send(line(seq=4, verb="wifi_join", ssid="home", password=secret))
    person.send(line(seq=5, verb="set", settings={"log.level": "info"}))
    person.send(b"{" + secret.encode() + b"\n")
    person.act(person.session.receive(wifi("home", secret)))
    person.send(b"\r")
    session = person.session
    places = [*session._transcript.lines(), *session._editor._history, json.dumps(person.kept, ensure_ascii=False)]
    assert not [place for place in places if secret in place or json.dumps(secret)[1:-1] in place]
    assert len(session._transcript.lines()) > 10


def test_the_owners_password_leaves_no_trace_of_its_length() -> None:
    lengths = set()
    for secret in (OWNER_SECRET, OWNER_SECRET * 3):
        person = Person(MemoryBox(provisioned=True, locks=True))
        person.box.owner_secret = secret
        person.type("", "unlock", secret)
        lengths.add(tuple(person.session._transcript.lines()))
    assert len(lengths) == 1


def test_what_leaves_the_box_of_it_names_nobody_and_nothing() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type(
        "", "status", "set dns.user somebody", "set log.level=debug", "show dns.user", "wifi join Fritzbox 7590"
    )
    person.type("wrong password")
    person.type("user add otto", "secret enough", "secret enough")
    person.type("user list", "user deactivate otto", "no", "user add otto", "secret enough", "secret enough")
    person.ask(seq="for berta", verb="set", settings={"acme.contact": "berta@example.org"})
    person.ask(seq=2, verb="berta")
    person.act(person.session.receive(wifi("Fritzbox", "hunter22")))
    outline = "\n".join(person.session._transcript.outline())
    kept = "\n".join(person.session._transcript.lines())
    assert (
        "relay> set dns.user ***\nrelay> set log.level\nrelay> show dns.user\n(1 lines)\nrelay> wifi join ***"
        in outline
    )
    assert "relay> user add ***" in outline
    assert "error: the name is taken" in outline
    assert "> set\n< ok\n> ***\n< input.invalid\n> improv SendWifi" in outline
    for private in ("somebody", "Fritz", "otto", "berta", "hunter22", "secret enough", "box.example"):
        assert private not in outline
    assert "otto" not in kept


def test_whom_an_answer_names_is_not_kept() -> None:
    person = Person(MemoryBox(provisioned=True))
    person.type("", "user add otto", "secret enough", "secret enough", "user deactivate otto", "otto")
    lines = person.session._transcript.lines()
    assert "Close this account for good? Type the name again: ***" in lines
    assert "otto" not in "\n".join(lines)
    new = Person()
    new.type("", "setup", "box.example", "anna")
    assert "owner: ***" in new.session._transcript.lines()
    assert "anna" not in "\n".join(new.session._transcript.lines())
    # As a default it stands in the question.
    new.type("\x03", "set owner anna", "setup", "box.example", "anna")
    assert "anna" not in "\n".join(new.session._transcript.lines())


def test_whom_the_set_up_names_is_not_kept() -> None:
    person = Person()
    person.type("", "set owner anna", "set owner=anna", "plan")
    person.type("setup", "box.example", "anna", "secret enough", "secret enough", "", "", "yes")
    person.ask(seq=1, verb="set", settings={"owner": "anna"})
    assert "Owner: ***" in person.session._transcript.lines()
    assert "anna" not in "\n".join(person.session._transcript.lines())
