"""Sampling by the engine and by ``generate``, in pairs.

``python -m tests.bench.probes.rollout_probe PAIRS ROUNDS``.

A process of its own, since waiting threads must not spin: ``OMP_WAIT_POLICY`` is read when torch is imported.
Both sides are warmed up and take turns in going first; a measurement lasts several rounds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.bench.jobs import STARTER, cores
from tests.bench.sampling import count_tokens, decode, generate, with_adapter
from workers.contract.spec import BaseModelRef
from workers.engine.base_model.models import Base, load

EACH, MOST = 8, 48


def main(pairs: int, rounds: int) -> None:
    """Print a line ``{"decode": …, "generate": …}``, tokens a second, for every pair."""
    torch.set_num_threads(cores())
    base, model, prompts = starter_with_adapter()
    for draw in (decode, generate):
        draw(base, model, prompts, EACH, MOST)
    for pair in range(pairs):
        order = (decode, generate) if pair % 2 else (generate, decode)
        rates = {}
        for draw in order:
            rates[draw.__name__] = measure(partial(draw, base, model, prompts, EACH, MOST), rounds, pair)
        print(json.dumps(rates), flush=True)


def measure(draw: Callable[[], list[Any]], rounds: int, seed: int) -> float:
    """Tokens a second over so many rounds."""
    torch.manual_seed(seed)
    began = time.perf_counter()
    tokens = sum(count_tokens(draw()) for _ in range(rounds))
    return tokens / (time.perf_counter() - began)


def starter_with_adapter() -> tuple[Base, Any, list[list[int]]]:
    """The starter model with a fresh adapter, and eight of its prompts."""
    path = str((STARTER / "model").resolve())
    base = load(BaseModelRef(id="groove/starter", path=path), Path(), torch.device("cpu"))
    lines = (STARTER / "sample" / "dataset.jsonl").read_text().splitlines()
    prompts = [base.renderer.encode(json.loads(line)["messages"]) for line in lines[:800:100]]
    return base, with_adapter(base.model), prompts


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
