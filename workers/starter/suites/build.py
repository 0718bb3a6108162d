"""Writes the rows of the suites: ``python -m workers.starter.suites.build [FOLDER]``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from workers.starter.office_tasks import ITEMS, draw_example, make_random
from workers.starter.sample.build import HERE as SAMPLE
from workers.starter.suites import FOLDER, SUITES

ROWS = 64
SEED = 3_000_000  # used neither by pretraining nor by the sample data set
Pair = tuple[str, object]  # a prompt and the reference of its answer


def _draw_starter(task: str, rng: Random) -> Pair:
    example = draw_example(rng, task)
    return example.prompt, example.reference


def _draw_arithmetic(rng: Random) -> Pair:
    first, second = rng.randint(10, 99), rng.randint(10, 99)
    sign, result = rng.choice((("+", first + second), ("-", first - second)))
    return f"What is {first} {sign} {second}? Answer with the number alone.", str(result)


def _draw_instruction(rng: Random) -> Pair:
    word, other = rng.sample(ITEMS, 2)
    return rng.choice(
        (
            (f"Write the word “{word}” in capital letters and nothing else.", word.upper()),
            (f"Write “{word}” and “{other}”, in this order, with a comma between them.", f"{word}, {other}"),
            (f'Answer with this JSON and nothing else: {{"{word}": "{other}"}}', f'{{"{word}": "{other}"}}'),
        )
    )


MAKERS: dict[str, Callable[[Random], Pair]] = {
    **{task: partial(_draw_starter, task) for task in ("invoice", "ticket", "order")},
    "arithmetic": _draw_arithmetic,
    "instructions": _draw_instruction,
}


def _read_sample_prompts() -> set[str]:
    lines = (SAMPLE / "dataset.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["messages"][0]["content"] for line in lines}


def build(folder: Path) -> None:
    """Write ``ROWS`` distinct prompts per suite, none of them in the sample data set."""
    sample_prompts = _read_sample_prompts()
    for index, key in enumerate(SUITES):
        rng, rows = make_random(SEED + index), dict[str, object]()
        while len(rows) < ROWS:
            prompt, reference = MAKERS[key](rng)
            if prompt not in sample_prompts:
                rows[prompt] = reference
        lines = [_write_row(f"{key}-{number}", *row) for number, row in enumerate(rows.items(), start=1)]
        (folder / f"{key}.jsonl").write_text("".join(lines), encoding="utf-8")


def _write_row(row_id: str, prompt: str, reference: object) -> str:
    row = {
        "row_id": row_id,
        "messages": [{"role": "user", "content": prompt}],
        "item": {"reference": reference},
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    build(parser.parse_args().folder)
