"""Settings for every test."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

# Time limits of single examples say more about the machine than about the code. In the CI the examples are the same
# each time: what chance finds is for whoever sits at the keyboard.
settings.register_profile("doorstep", deadline=None, print_blob=True, derandomize=os.environ.get("CI") == "true")
settings.load_profile("doorstep")

_FIGURES = pytest.StashKey[dict[str, Counter[str]]]()


@pytest.fixture(scope="session", autouse=True)
def _clock_of_this_machine() -> Iterator[None]:
    """Have root's tests fail rather than set the time of the machine they run on."""

    def refuse(_clock: int, _wall_s: float) -> None:
        raise PermissionError("no test sets the clock of this machine")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "clock_settime", refuse)
        yield


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Return what counts how much was tried and what it showed: `figures("cuts", {"states tried": 40, "losses": 0})`.

    The sums of all tests, one line for each subject, stand at the end of the run.
    """
    subjects = pytestconfig.stash.setdefault(_FIGURES, {})

    def count(subject: str, numbers: dict[str, int]) -> None:
        subjects.setdefault(subject, Counter()).update(numbers)

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for subject, numbers in config.stash.get(_FIGURES, {}).items():
        terminalreporter.write_line(f"{subject}: {', '.join(f'{count:,} {name}' for name, count in numbers.items())}")
