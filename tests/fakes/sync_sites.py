"""Every place in relay/store that makes something durable, by name: `segments.Segments._make.2` is its second sync."""

import ast
import sys
from pathlib import Path
from types import FrameType

import relay.store

STORE = Path(relay.store.__file__).parent
# The layer itself: what all others call.
_LAYER = "files.py"
_CALLS = ("sync", "sync_folder")


def written_sites() -> dict[tuple[str, int], str]:
    """Return the name of each sync call in the code, by (file, line)."""
    sites: dict[tuple[str, int], str] = {}
    for path in sorted(STORE.glob("*.py")):
        if path.name != _LAYER:
            finder = _Finder(path)
            finder.visit(ast.parse(path.read_text()))
            sites |= finder.sites
    return sites


class _Finder(ast.NodeVisitor):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._within = [path.stem]
        self._counts: dict[str, int] = {}
        self.sites: dict[tuple[str, int], str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._within.append(node.name)
        self.generic_visit(node)
        self._within.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._within.append(node.name)
        self.generic_visit(node)
        self._within.pop()

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in _CALLS:
            place = ".".join(self._within)
            self._counts[place] = self._counts.get(place, 0) + 1
            self.sites[str(self._path), node.lineno] = f"{place}.{self._counts[place]}"
        self.generic_visit(node)


_SITES = written_sites()


def calling_site(path: str) -> str:
    """Return the site that is calling now.

    A sync that SQLite asks for, or the making of a folder, is named after who let it work, and what was synced.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.parent == STORE and file.name != _LAYER:
            named = _SITES.get((str(file), frame.f_lineno))
            return named or f"{file.stem}.{frame.f_code.co_name}, within: {Path(path).name}"
        frame = frame.f_back
    return "nobody's"
