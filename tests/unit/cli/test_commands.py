import json
from pathlib import Path

import pytest

from relay.base.config import Config
from relay.cli import commands
from relay.cli.commands import run_command


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "relay.toml").write_text(Config.parse({"server": {"name": "box.example"}}).render())
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["dance"],
        ["status"],
        ["provision", "--state", "x"],
        ["provision", "--state", "x", "--name", "box.example", "--set", "broken"],
        ["provision", "--state", "x", "--name", "box.example", "--owner", "anna"],
        ["provision", "--state", "x", "--name", "box.example", "--password-file", "f"],
        ["user", "add", "anna", "--state", "x"],
    ],
)
def test_wrong_usage_ends_with_two_and_a_hint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == 2
    assert "Error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["provision", "--name", "no spaces", "--state"], "server name"),
        (["user", "list", "--state"], "not been provisioned"),
        (["user", "add", "anna", "--password-file", "/nowhere", "--state"], "password file"),
        (["doctor", "--state"], "1 fault found"),
    ],
)
def test_a_fault_ends_with_one_and_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([*arguments, str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_help_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    assert "provision" in capsys.readouterr().out


def test_status_for_programs_is_one_object(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["status", "--json", "--state", str(box)]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["server"] == "box.example"
    assert captured.err == "relay: the box is not running\n"


def test_status_for_people_says_what_to_do_next(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["status", "--state", str(box)])
    assert capsys.readouterr().out == "box.example is not running\nnext: relay up\n"


def test_a_doctors_findings_come_with_a_next_step(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--state", str(box)]) == 1
    assert "  next: " in capsys.readouterr().out


def test_diagnostics_go_to_a_file_of_whoever_asks_though_the_box_is_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "said.txt"

    def operate(_state: Path, _fields: dict[str, str]) -> dict[str, str]:
        # From here on root is who keeps the state folder, and could not make the file any more.
        assert file.exists()
        return {"text": "all is well\n"}

    monkeypatch.setattr(commands, "operate", operate)
    assert run_command(["diagnostics", "--state", str(tmp_path), "--to", str(file)]) == 0
    assert file.read_text() == "all is well\n"
