import os
from pathlib import Path

import pytest

from relay.cli.lasting import is_from_afar, run_lasting


@pytest.mark.parametrize("arguments", [[], ["status"], ["up"], ["up", "--help"], ["console", "--state", "d", "extra"]])
def test_what_is_not_plain_is_left_to_the_full_command_line(arguments: list[str]) -> None:
    assert run_lasting(arguments) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--headless"], "relay provision"),
        (["up", "--headless", "--profile", "toaster"], "no profile 'toaster'"),
        (["console", "--port", "/dev/no-such-port"], "/dev/no-such-port"),
    ],
)
def test_a_fault_is_one_line_and_ends_with_one(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_lasting([*arguments, "--state", str(tmp_path / "state")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("terminal", "far"), [("/dev/pts/3", True), ("/dev/tty1", False)])
def test_whoever_may_lose_the_box_with_its_network_is_known_by_the_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: str, *, far: bool
) -> None:
    monkeypatch.setattr(os, "ttyname", lambda _descriptor: terminal)
    assert is_from_afar({"SSH_CONNECTION": "192.0.2.9 50000 192.0.2.5 22"})
    assert is_from_afar({}) is far
