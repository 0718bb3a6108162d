"""Writes the sample data set and its grader: ``python -m workers.starter.sample.build [FOLDER]``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from workers.starter.office_tasks import draw_example, make_random

ROWS = 1200
SEED = 2026
HERE = Path(__file__).parent


def build(folder: Path) -> None:
    """Write ``dataset.jsonl`` (distinct prompts, chat messages, reference) and ``grader.json``."""
    rows: dict[str, str] = {}
    rng = make_random(SEED)
    while len(rows) < ROWS:
        example = draw_example(rng)
        row = {
            "messages": [{"role": "user", "content": example.prompt}],
            "task": example.task,
            "reference": example.reference,
        }
        rows[example.prompt] = json.dumps(row)
    source = (HERE / "fields.py").read_text(encoding="utf-8")
    grader = {"type": "python", "name": "fields", "source": source}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.jsonl").write_text("\n".join(rows.values()) + "\n", encoding="utf-8")
    (folder / "grader.json").write_text(json.dumps(grader, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    build(parser.parse_args().folder)
