from pathlib import Path

import pytest

from relay.cli.lasting import run_lasting


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
