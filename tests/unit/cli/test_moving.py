"""What a person is told who moves, and what the two commands refuse before they ask any box."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli import moving
from relay.cli.luggage import Contents
from relay.cli.moves import Arrival, Departure

STREET: dict[str, Any] = {"room": "!s:b", "name": "Street", "membership": "join", "join_rule": "public", "power": 0}
FAMILY: dict[str, Any] = {
    "room": "!f:b", "name": "", "membership": "join", "join_rule": "invite", "power": 100, "encrypted": True,
}  # fmt: skip


def arrival(*outcomes: str, secrets: bool = True, **counts: int) -> str:
    rooms = [{**card, "outcome": outcome, "why": ""} for card, outcome in zip((STREET, FAMILY), outcomes, strict=False)]
    return "\n".join(moving.words_of_arrival(Arrival("@anne:new", "@anna:old", True, secrets, dict(counts), rooms)))


def test_who_arrives_is_told_what_came_and_what_to_do() -> None:
    text = arrival("joined", "invite", profile=2, data=5, backup_keys=7, kept=1)
    assert "@anna:old is now @anne:new, a new account" in text
    assert "2 profile fields, 5 pieces of account data, 0 set of push rules, 7 backed-up room keys" in text
    assert "joined again: Street" in text
    assert "needs an invitation: !f:b" in text
    assert "relay user export NAME --invite @anne:new" in text
    assert "recovery key" in text
    assert "cross-signing anew" in text
    assert "import the same file again while" not in text


def test_who_has_secrets_of_their_own_is_told_another_way() -> None:
    text = arrival("joined", "joined", secrets=False)
    assert "the old one stayed behind" in text
    assert "new messages can be read from now on" in text
    assert "give the new one its power" in text


@pytest.mark.parametrize("outcome", ["silent", "later"])
def test_what_could_not_be_tried_is_to_be_tried_again(outcome: str) -> None:
    assert "import the same file again" in arrival(outcome)


def departure(**outcomes: str) -> Departure:
    cards = [
        {**STREET, **({"outcome": outcomes["street"], "why": "no"} if "street" in outcomes else {})},
        {**FAMILY, **({"outcome": outcomes["family"], "why": "no"} if "family" in outcomes else {})},
    ]
    return Departure(Contents("@anna:old", counts={"data": 3, "keys": 9, "picture": 1}), 1234, cards)


def test_who_departs_is_told_what_is_packed_and_who_has_to_be_invited() -> None:
    text = "\n".join(moving.words_of_departure(departure(), ""))
    assert "1234 bytes" in text
    assert "profile with picture, 3 pieces of account data, 9 backed-up room keys, 2 rooms" in text
    assert "1 rooms let in only who is invited" in text
    text = "\n".join(moving.words_of_departure(departure(street="there", family="refused"), "@anne:new"))
    assert "there already: Street" in text
    assert "not invited to !f:b: no" in text
    assert "give the new one its power in: !f:b" in text


def run(*arguments: object) -> Any:
    words = [str(word) for word in arguments]
    command = moving.export_user if words[0] == "export" else moving.import_user
    return CliRunner().invoke(command, words[1:])


def test_a_file_is_sealed_with_exactly_one_secret(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x" * 31)
    (tmp_path / "phrase").write_text("correct horse\n")
    both = ("--key-file", tmp_path / "short", "--passphrase-file", tmp_path / "phrase")
    for seal in ((), both):
        outcome = run("export", "anna", "--state", tmp_path, "--to", tmp_path / "f", *seal)
        assert "either --passphrase-file or --key-file" in outcome.output
    outcome = run("export", "anna", "--state", tmp_path, "--to", tmp_path / "f", "--key-file", tmp_path / "short")
    assert "31 bytes" in str(outcome.exception)


def test_a_damaged_file_is_refused_before_any_box_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "file").write_bytes(b"rubbish")
    seal = ("--key-file", tmp_path / "key")
    outcome = run("import", tmp_path / "file", "--state", tmp_path / "none", *seal)
    assert "at byte 0" in str(outcome.exception)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"rubbish")))
    assert "does not exist" in str(run("import", "-", "--state", tmp_path / "none", *seal).exception)
    outcome = CliRunner().invoke(
        moving.import_user, ["-", "--state", str(tmp_path), "--key-file", str(tmp_path / "key")], input=b"rubbish"
    )
    assert "at byte 0" in str(outcome.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "key"]
