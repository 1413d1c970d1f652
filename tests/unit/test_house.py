"""The house rules that no linter knows: sizes, forbidden names, logs, errors."""

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

from relay.base.errors import Fault, RelayError

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


LOG_CALLS = [
    (path, call)
    for path in SOURCES
    for call in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(call, ast.Call)
    and isinstance(call.func, ast.Attribute)
    and ast.unparse(call.func.value) in ("log", "_log", "logger", "log.get_logger()")
    and call.func.attr in ("debug", "info", "warning", "error", "exception", "critical")
]
MAY_BE_LOGGED = {
    "boot", "code", "connections", "count", "delay_s", "errno", "error", "failures", "kind", "limit", "messages",
    "peer_tag", "room_tag", "sequence", "state_events", "where",
}  # fmt: skip


def test_each_log_event_is_named_after_its_room_and_logged_in_one_place() -> None:
    names = []
    for path, call in LOG_CALLS:
        (name,) = call.args
        assert isinstance(name, ast.Constant), f"{path}: the name of an event is fixed"
        assert re.fullmatch(rf"{path.relative_to(ROOT).parts[1]}\.[a-z_]+", str(name.value)), name.value
        names.append(str(name.value))
    assert sorted(names) == sorted(set(names))
    assert len(names) > 20


def test_no_log_above_debug_takes_what_is_private() -> None:
    for path, call in LOG_CALLS:
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr == "debug":
            continue
        where = f"{path}: {ast.unparse(call)}"
        assert {fact.arg for fact in call.keywords} <= MAY_BE_LOGGED, where
        # The text of an error holds values; only its type or code is logged.
        assert not re.search(r"\b(str|repr)\(", ast.unparse(call)), where
        tags = [ast.unparse(fact.value) for fact in call.keywords if str(fact.arg).endswith("_tag")]
        assert all(value.startswith("tag(") or value == "peer_tag" for value in tags), where


def _errors() -> list[type[RelayError]]:
    for path in SOURCES:
        text = path.read_text("utf-8")
        if "Error(" in text and re.search(r"^    code = \"", text, re.MULTILINE):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found, left = [], [RelayError]
    while left:
        kind = left.pop()
        found += [kind] if kind.__module__.startswith("relay.") else []
        left += kind.__subclasses__()
    return found


def test_every_error_has_a_code_of_its_own_and_says_whose_fault_it_is() -> None:
    errors = _errors()
    codes = [kind.code for kind in errors if "code" in vars(kind)]
    assert sorted(codes) == sorted(set(codes))
    # Of what is nobody's fault but ours the other side is told nothing; what another box answered says it itself.
    assert {kind.__name__ for kind in errors if kind.fault is Fault.BUG} == {"RelayError", "AnsweredError"}
