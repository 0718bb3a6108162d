"""``python -m tests.models [FAMILY ...]``: tries families, records what came out and writes the table.

Without names all are tried, which takes about a quarter of an hour on one core. ``--table`` only writes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tests.models import table
from tests.models.families import FAMILIES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--table", action="store_true", help="only write the table of docs/models.md")
    arguments = parser.parse_args()
    if not arguments.table:
        for family in arguments.families or FAMILIES:
            _try(family)
    table.write()


def _try(family: str) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from tests.models.trial import try_family

    with tempfile.TemporaryDirectory() as folder:
        found = try_family(family, Path(folder) / family)
    table.record(family, found)
    print(family, found.get("path") or found["refused"], flush=True)


if __name__ == "__main__":
    main()
