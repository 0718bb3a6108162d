"""The licences of what production installs: ``python -m tests.licences`` prints the documents' table."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
# The first pattern that a package's own words match names its licence; LGPL comes before GPL.
FAMILIES = [
    ("LGPL", r"LGPL|Lesser General Public"),
    ("AGPL", r"AGPL|Affero"),
    ("GPL", r"\bGPL|GNU General Public"),
    ("MPL-2.0", r"MPL|Mozilla"),
    ("Apache-2.0", r"Apache"),
    ("BSD", r"BSD"),
    ("MIT", r"MIT"),
    ("ISC", r"ISC"),
    ("PSF", r"PSF|Python Software Foundation"),
]


def locked_packages(lock: Path) -> list[str]:
    """Return the names of the packages that the lock file pins."""
    return re.findall(r"^([A-Za-z0-9_.-]+)==", lock.read_text(), re.MULTILINE)


def licence_of(package: str) -> str | None:
    """Return the licence family that a package states, "unknown" if it states none, None if not installed.

    The lock file also pins what other systems and Python versions need.
    """
    try:
        about = distribution(package).metadata
    except PackageNotFoundError:
        return None
    classifiers = [text for text in about.get_all("Classifier", []) if text.startswith("License")]
    stated = [about.get("License-Expression"), *classifiers, (about.get("License") or "")[:100]]
    words = " ".join(filter(None, stated))
    return next((family for family, pattern in FAMILIES if re.search(pattern, words)), "unknown")


def licence_table() -> str:
    """Return the table of licences and packages, in Markdown."""
    by_family: dict[str, list[str]] = defaultdict(list)
    for package in locked_packages(LOCK):
        if family := licence_of(package):
            by_family[family].append(package)
    rows = [f"| {family} | {', '.join(by_family[family])} |" for family in sorted(by_family)]
    return "\n".join(["| licence | packages |", "|---|---|", *rows])


if __name__ == "__main__":
    print(licence_table())
