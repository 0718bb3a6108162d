"""The shape of the code."""

from __future__ import annotations

from collections import Counter

from tests.conftest import ROOT

MOST_MODULES = 16


def test_no_folder_holds_more_modules_than_a_newcomer_reads() -> None:
    modules = Counter(
        path.parent.relative_to(ROOT)
        for folder in ("webapp", "workers", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    )
    assert {str(folder): number for folder, number in modules.items() if number > MOST_MODULES} == {}
