"""Every limit is used, says its unit, and a test stands at it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIMITS = [
    target.id
    for line in ast.parse((ROOT / "relay" / "base" / "limits.py").read_text("utf-8")).body
    if isinstance(line, ast.Assign)
    for target in line.targets
    if isinstance(target, ast.Name)
]
UNITS = ("KIB", "MIB")
NOT_YET = {
    "MAX_ARCHIVE_RECORD_BYTES",
    "MAX_STANDBY_FRAME_BYTES",
    "MAX_STANDBY_LIST_BYTES",
    "STANDBY_ANSWER_TIMEOUT_S",
}
"""Limits at which no test stands. This list may only shrink."""


def _words(folder: Path, but: tuple[Path, ...]) -> set[str]:
    texts = (path.read_text("utf-8") for path in folder.rglob("*.py") if path not in but)
    return {word for text in texts for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", text)}


USED = _words(ROOT / "relay", (ROOT / "relay" / "base" / "limits.py",))
TESTED = _words(ROOT / "tests", (Path(__file__).resolve(),))


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in UNITS])
def test_every_limit_is_used_and_a_test_stands_at_it(name: str) -> None:
    assert name in USED or name in NOT_YET, f"{name} bounds nothing"
    assert name in TESTED or name in NOT_YET, f"{name} needs a test just below and just above it"


def test_what_is_named_here_exists() -> None:
    assert set(LIMITS) >= NOT_YET


def test_every_limit_has_one_line() -> None:
    assert sorted(LIMITS) == sorted(set(LIMITS))
