from pathlib import Path

import pytest

from relay.box.profile import load_profile
from relay.box.randomness import random_source
from tests.fakes.board_tree import BoardTree


@pytest.mark.parametrize(("current", "source"), [("iproc-rng200", "iproc-rng200"), ("none", ""), ("", "")])
def test_the_source_is_the_one_that_is_used(tmp_path: Path, current: str, source: str) -> None:
    BoardTree(tmp_path, load_profile("raspberry-pi-4b")).randomness(current)
    assert random_source(tmp_path) == source


def test_a_kernel_without_the_framework_has_no_source(tmp_path: Path) -> None:
    assert random_source(tmp_path) == ""
