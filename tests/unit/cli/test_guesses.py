import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.base.errors import RateLimitedError, StorageError
from relay.base.limits import FIRST_GUESS_WAIT_S, FREE_GUESSES, MAX_GUESS_WAIT_S
from relay.base.trial import Uptime
from relay.cli.guesses import FILE_NAME, Guesses, wait_after


class Kernel:
    """Seconds since a start, and which start it was."""

    def __init__(self, folder: Path) -> None:
        self.now_s, self.boot, self.folders = 100.0, "first", [folder]

    def guesses(self) -> Guesses:
        return Guesses(self.folders, now=lambda: Uptime(self.boot, self.now_s))

    def guess(self) -> float:
        """Try once, as a process of its own does; return for how long that was refused."""
        try:
            self.guesses().count()
        except RateLimitedError as refusal:
            assert refusal.retry_after_s is not None
            return refusal.retry_after_s
        return 0.0

    def guess_wrong(self, times: int) -> None:
        for _ in range(times):
            while left_s := self.guess():
                self.now_s += left_s


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_the_first_slips_cost_nothing_and_each_one_more_costs_twice_as_long_up_to_a_bound() -> None:
    assert wait_after(FREE_GUESSES - 1) == 0
    assert wait_after(FREE_GUESSES) == FIRST_GUESS_WAIT_S
    assert wait_after(FREE_GUESSES + 1) == 2 * FIRST_GUESS_WAIT_S
    assert wait_after(FREE_GUESSES + 9) == 512 * FIRST_GUESS_WAIT_S
    assert wait_after(FREE_GUESSES + 10) == wait_after(10**6) == MAX_GUESS_WAIT_S


def test_a_try_that_comes_too_early_says_how_long_to_wait_and_is_not_made(kernel: Kernel) -> None:
    for _ in range(FREE_GUESSES):
        assert kernel.guess() == 0
    assert kernel.guess() == FIRST_GUESS_WAIT_S
    kernel.now_s += FIRST_GUESS_WAIT_S / 2
    assert kernel.guess() == FIRST_GUESS_WAIT_S / 2
    kernel.now_s += FIRST_GUESS_WAIT_S / 2
    assert kernel.guess() == 0
    assert kernel.guess() == 2 * FIRST_GUESS_WAIT_S


def test_a_power_cut_takes_nothing_back_and_begins_the_wait_again(kernel: Kernel) -> None:
    kernel.guess_wrong(FREE_GUESSES + 4)
    kernel.now_s, kernel.boot = 3.0, "second"
    assert kernel.guess() == 16 * FIRST_GUESS_WAIT_S - 3
    kernel.now_s = 16 * FIRST_GUESS_WAIT_S
    assert kernel.guess() == 0
    assert kernel.guess() == 32 * FIRST_GUESS_WAIT_S


def test_the_right_password_forgets_the_wrong_ones(kernel: Kernel, tmp_path: Path) -> None:
    kernel.guess_wrong(FREE_GUESSES + 4)
    kernel.guesses().forgive()
    assert list(tmp_path.iterdir()) == []
    assert kernel.guess() == 0


@pytest.mark.parametrize("before", [0, 2, 5])
def test_a_try_of_which_nothing_came_is_not_counted(kernel: Kernel, before: int) -> None:
    kernel.guess_wrong(before)
    kernel.now_s += MAX_GUESS_WAIT_S
    guesses = kernel.guesses()
    guesses.count()
    guesses.forgive_last()
    kernel.now_s += MAX_GUESS_WAIT_S
    kernel.guess()
    kernel.guess_wrong(1)
    assert kernel.guess() == wait_after(before + 2)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"wrong": "x"}', b"[]", b'{"wrong": 1, "boot": "first", "at_s": "x"}']
)
def test_damaging_the_count_wins_nothing(kernel: Kernel, tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert kernel.guess() == MAX_GUESS_WAIT_S - 100


def test_flash_that_takes_no_writes_counts_elsewhere_and_where_nothing_does_no_try_is_made(
    kernel: Kernel, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    kernel.folders = [tmp_path / "gone", elsewhere]
    kernel.guess_wrong(FREE_GUESSES)
    assert kernel.guess() == FIRST_GUESS_WAIT_S
    kernel.folders = [tmp_path / "gone"]
    with pytest.raises(StorageError, match="hold the button"):
        kernel.guess()


@given(st.lists(st.floats(0, 2000), max_size=30))
def test_nobody_guesses_faster_than_the_waits_allow(pauses_s: list[float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(Path(folder))
        start_s, made = kernel.now_s, 0
        for pause_s in pauses_s:
            made += kernel.guess() == 0
            kernel.now_s += pause_s
        least_s = sum(wait_after(wrong) for wrong in range(1, made))
        assert made <= 1 or kernel.now_s - start_s + 1e-6 >= least_s


def test_the_kernels_own_clock_and_start_are_used(tmp_path: Path) -> None:
    Guesses([tmp_path]).count()
    noted, now = json.loads((tmp_path / FILE_NAME).read_bytes()), Uptime.now()
    assert noted["boot"] == now.boot != ""
    assert 0 < noted["at_s"] <= now.seconds
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
