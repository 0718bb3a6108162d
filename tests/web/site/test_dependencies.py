"""Dependencies are pinned, hashed, explained, and free to use."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.licences import LOCK, ROOT, licence_of, licence_table, locked_packages

DOCUMENT = ROOT / "docs" / "dependencies.md"
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-graders.lock"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_pinned_package_has_hashes(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^(\S+==\S+)(?: ; .*)? \\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(pins) == len(locked_packages(ROOT / name)) > 10


def test_production_installs_nothing_under_gpl_and_nothing_of_development() -> None:
    packages = locked_packages(LOCK)
    free = {"Apache-2.0", "BSD", "ISC", "LGPL", "MIT", "MPL-2.0", "PSF", None}
    assert {licence_of(package) for package in packages} <= free
    assert not {"djlint", "pytest", "playwright", "mypy"} & set(packages)


def test_the_document_lists_the_licence_of_every_package_in_production() -> None:
    assert licence_table() in DOCUMENT.read_text(), "run python -m tests.licences and paste its table"


def test_every_direct_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[=~<>; ]", each)[0] for each in wanted}
    rows = " ".join(line for line in DOCUMENT.read_text().splitlines() if line.startswith("|"))
    reasons = rows.partition("| licence | packages |")[0]
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", reasons)} == set()
