import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.console.improv import Command, Error, State, render_error, render_result, render_state
from tests.fakes.console_operator import URL, MemoryBox
from tests.fakes.console_person import Person
from tests.unit.console.test_improv import rpc

NO_ERROR = render_error(Error.NONE)


def said(person: Person, data: bytes) -> bytes:
    before = len(person.seen)
    person.act(person.session.receive(data))
    return person.seen[before:]


def wifi(ssid: str, password: str) -> bytes:
    payload = b"".join(bytes([len(text)]) + text for text in (ssid.encode(), password.encode()))
    return rpc(Command.SEND_WIFI, payload) + b"\n"


def test_the_state_is_told_at_once_without_asking_anybody() -> None:
    person = Person(MemoryBox(provisioned=True), late=True)
    assert said(person, rpc(2) + b"\n") == NO_ERROR + render_state(State.READY)
    person.box.network = "home"
    online = NO_ERROR + render_state(State.PROVISIONED) + render_result(Command.CURRENT_STATE, [URL])
    assert said(person, rpc(2) + b"\n") == online
    assert person.box.asked == []


def test_a_new_box_that_is_online_has_no_address_to_go_to_yet() -> None:
    person = Person()
    person.box.network = "home"
    assert said(person, rpc(2)).endswith(render_result(Command.CURRENT_STATE, []))


def test_joining_tells_that_it_is_under_way_and_then_where_to_go() -> None:
    person = Person(MemoryBox(provisioned=True), late=True)
    assert said(person, wifi("home", "correct horse")) == NO_ERROR + render_state(State.PROVISIONING)
    before = len(person.seen)
    person.answer()
    assert person.seen[before:] == render_state(State.PROVISIONED) + render_result(Command.SEND_WIFI, [URL])


def test_a_network_that_cannot_be_joined_leaves_the_box_ready_for_another_try() -> None:
    person = Person(MemoryBox(provisioned=True))
    answer = said(person, wifi("home", "wrong horse"))
    assert answer.endswith(render_state(State.READY) + render_error(Error.UNABLE_TO_CONNECT))
    assert b"wrong horse" not in person.seen
    assert said(person, wifi("café", "")).endswith(render_result(Command.SEND_WIFI, [URL]))


def test_networks_are_listed_one_packet_each_and_an_empty_one_ends_the_list() -> None:
    assert said(Person(), rpc(4)) == (
        NO_ERROR
        + render_result(Command.SCAN, ["home", "-60", "YES"])
        + render_result(Command.SCAN, ["café", "-75", "NO"])
        + render_result(Command.SCAN, [])
    )


def test_the_box_says_what_it_is() -> None:
    texts = ["Doorstep", "0.1.0", "desk", "Doorstep", "Debian", "13"]
    assert said(Person(), rpc(3)) == NO_ERROR + render_result(Command.DEVICE_INFO, texts)


def test_names_are_told_and_set() -> None:
    person = Person()
    assert said(person, rpc(5)).endswith(render_result(Command.HOSTNAME, ["doorstep"]))
    assert said(person, rpc(5, b"oma.home")).endswith(render_result(Command.HOSTNAME, ["oma.home"]))
    assert said(person, rpc(6, b"Oma's box")).endswith(render_result(Command.DEVICE_NAME, ["Oma's box"]))
    assert said(person, rpc(6)).endswith(render_result(Command.DEVICE_NAME, ["Oma's box"]))


@pytest.mark.parametrize("name", ["o m a", "-oma", "oma-", "oma..home", "\u00f6ma", "a" * 64])
def test_a_host_name_that_is_none_is_refused_as_such(name: str) -> None:
    person = Person()
    assert said(person, rpc(5, name.encode())).endswith(render_error(Error.BAD_HOSTNAME))
    assert person.box.hostname == "doorstep"


def test_the_ways_the_box_could_be_online_are_told_as_flags() -> None:
    person = Person(MemoryBox(provisioned=True))
    assert said(person, rpc(7)).endswith(render_result(Command.NETWORK_STATE, ["6"]))
    person.box.network = "home"
    assert said(person, rpc(7)).endswith(render_result(Command.NETWORK_STATE, ["7", URL]))


def test_an_operator_that_fails_is_the_protocols_unknown_error() -> None:
    person = Person()

    def refuse() -> dict[str, object]:
        raise LookupError("there is no Wi-Fi")

    person.box._wifi_scan = refuse  # type: ignore[method-assign]
    assert said(person, rpc(4)) == NO_ERROR + render_error(Error.UNKNOWN)


def test_a_packet_never_shares_a_line_with_a_prompt() -> None:
    person = Person()
    person.send(b"\rstatus and something")
    answer = said(person, rpc(2) + b"\n")
    assert b"\r\n" + NO_ERROR in answer
    assert not answer.partition(NO_ERROR)[2].replace(render_state(State.READY), b"")


def test_a_torn_packet_is_given_up_after_a_pause_and_the_person_is_heard_again() -> None:
    person = Person()
    said(person, rpc(2)[:-3])
    person.act(person.session.paused())
    assert person.seen.endswith(render_error(Error.INVALID_PACKET))
    assert "new box> " in person.send(b"\r")


def test_a_packet_torn_by_unplugging_takes_nothing_from_who_plugs_in_next() -> None:
    person = Person()
    said(person, b"IMPROV\x01")
    person.act(person.session.unplugged())
    assert "new box> " in person.send(b"\r")


@given(st.lists(st.integers(1, 40), max_size=6))
def test_how_the_bytes_of_a_conversation_are_cut_never_matters(cuts: list[int]) -> None:
    line = json.dumps({"seq": 1, "verb": "hello"}).encode()
    conversation = b"\rhel" + rpc(2) + b"\n" + line + b"\n" + rpc(4) + b"\n" + wifi("home", "correct horse") + b"\r"
    whole = Person()
    whole.act(whole.session.receive(conversation))
    cut, start = Person(), 0
    for length in [*cuts, len(conversation)]:
        cut.act(cut.session.receive(conversation[start : start + length]))
        start += length
    assert cut.seen == whole.seen
