import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.console.grammar import COMMANDS, UsageError, candidates, explain, in_columns, parse

KEYS = ["name", "owner", "rate.login_burst", "rate.login_per_minute"]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("status", "status", []),
        ("  stat  ", "status", []),
        ("fac", "factory-reset", []),
        ("us a anna", "user add", ["anna"]),
        ("set name box.example", "set", ["name", "box.example"]),
        ("set tls.cert  /a file with spaces ", "set", ["tls.cert", "/a file with spaces"]),
        ("set name=box.example", "set", ["name=box.example"]),
        ("time set 2026-11-23T12:00:00Z", "time set", ["2026-11-23T12:00:00Z"]),
        ("sh rate.", "show", ["rate."]),
    ],
)
def test_words_may_be_as_short_as_they_stay_unique(text: str, name: str, arguments: list[str]) -> None:
    command, given_arguments = parse(text)
    assert (command.name, given_arguments) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dance", "there is no 'dance'"),
        ("s", "may be set, setup, show, status"),
        ("user", "more words follow: user add"),
        ("user add", "usage: user add NAME"),
        ("user add anna otto", "anna otto"),
        ("status now", "usage: status"),
        ("user dance", "there is no 'user dance'"),
    ],
)
def test_what_is_no_command_is_answered_with_what_would_be(text: str, message: str) -> None:
    if message == "anna otto":
        assert parse(text)[1] == ["anna otto"]
        return
    with pytest.raises(UsageError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("st", ["status"]),
        ("user ", ["add", "deactivate", "list", "passwd"]),
        ("us p", ["passwd"]),
        ("set rate.", ["rate.login_burst", "rate.login_per_minute"]),
        ("set name ", []),
        ("terminal a", ["ascii"]),
        ("user add ", []),
        ("x ", []),
        ("s ", []),
    ],
)
def test_completion_knows_what_can_stand_here(text: str, words: list[str]) -> None:
    assert candidates(text, KEYS) == words


def test_an_explanation_lists_commands_then_arguments() -> None:
    assert len(explain("", KEYS)) == len(COMMANDS)
    assert "user passwd" in explain("us p", KEYS)[0]
    assert explain("set n", KEYS) == ["  set KEY VALUE", "    name"]
    assert explain("dance", KEYS) == []


@given(st.text(alphabet="setuprdania -.=\\{}", max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    candidates(text, KEYS)
    explain(text, KEYS)
    try:
        command, arguments = parse(text)
    except UsageError as error:
        assert str(error)
    else:
        assert command.least <= len(arguments) <= command.most


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=100), max_size=60))
def test_columns_hold_every_name_in_order(names: list[str]) -> None:
    lines = in_columns(names)
    assert " ".join(lines).split() == names
    assert all(len(line) <= 75 or " " not in line for line in lines)
