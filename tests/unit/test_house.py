"""The house rules that no linter knows: sizes, forbidden names, and a test file for every source file."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "relay").rglob("*.py"))
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
FORBIDDEN_WORDS = ("util", "common", "helper", "manager", "handler")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_keep_their_budgets(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, f"{node.name} is too long"


def test_names_say_what_a_file_holds() -> None:
    vague = [path for path in SOURCES for word in FORBIDDEN_WORDS if word in path.stem]
    assert not vague


def test_the_median_file_is_short() -> None:
    lengths = sorted(len(path.read_text("utf-8").splitlines()) for path in SOURCES)
    assert lengths[len(lengths) // 2] <= 150


def test_the_map_in_the_readme_shows_every_room() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    rooms = [path.name for path in (ROOT / "relay").iterdir() if (path / "__init__.py").exists()]
    assert [room for room in rooms if f"{room}/" not in readme and f"{room}.py" not in readme] == []


def test_the_readme_gives_a_reason_for_every_added_library() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        named = tomllib.load(file)["project"]["dependencies"]
    readme = (ROOT / "README.md").read_text("utf-8")
    given = readme.split("Given with the project: ")[1].split(".")[0].split(", ")
    assert [name for name in named if name not in given and f"| {name} |" not in readme] == []
