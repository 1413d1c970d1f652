"""Settings for every test."""

import os
from collections.abc import Callable

import pytest
from hypothesis import settings

# Time limits of single examples say more about the machine than about the code. In the CI the examples are the same
# each time: what chance finds is for whoever sits at the keyboard.
settings.register_profile("doorstep", deadline=None, print_blob=True, derandomize=os.environ.get("CI") == "true")
settings.load_profile("doorstep")

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Return what takes a line for the end of the run: how much was tried, and what it showed."""
    return pytestconfig.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)
