import pytest

from relay.cli.options import read_options

KNOWN = {"state": True, "port": True, "headless": False}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--state", "d"], {"state": "d"}),
        (["--port=/dev/ttyS0", "--headless", "--state=a=b"], {"port": "/dev/ttyS0", "headless": "", "state": "a=b"}),
    ],
)
def test_plain_options_are_read(arguments: list[str], options: dict[str, str]) -> None:
    assert read_options(arguments, KNOWN) == options


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["--state"],
        ["d"],
        ["--state", "d", "x"],
        ["--state=d", "--state=e"],
        ["--state=d", "--headless=1"],
    ],
)
def test_everything_else_is_left_to_the_full_command_line(arguments: list[str]) -> None:
    assert read_options(arguments, KNOWN) is None
