"""The built-in environments, which an author may start from: files that only the sandbox runs."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workers.grading.source import parse_python

FOLDER = Path(__file__).parent / "built_in"


@dataclass(frozen=True)
class Example:
    """A built-in environment. ``key`` is the name of its file; ``summary`` begins its docstring."""

    key: str
    title: str
    summary: str
    source: str


@cache
def list_examples() -> tuple[Example, ...]:
    """Return the built-in environments, the shortest first."""
    files = [path for path in FOLDER.glob("*.py") if path.stem != "__init__"]
    return tuple(sorted(map(_read_example, files), key=lambda example: len(example.source)))


def _read_example(path: Path) -> Example:
    source = path.read_text(encoding="utf-8")
    summary = (ast.get_docstring(parse_python(source)) or "").partition("\n\n")[0]
    return Example(path.stem, path.stem.replace("_", " ").capitalize(), " ".join(summary.split()), source)
