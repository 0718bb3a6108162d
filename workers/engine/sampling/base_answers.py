"""Answers of a base model to a few rows, for trying graders and prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from workers.contract.events import DoneEvent, Event, PhaseEvent
from workers.contract.spec import SampleSpec
from workers.engine.base_model.models import load, pick_device
from workers.engine.sampling.batches import Sampler
from workers.engine.training.grpo import threads

SAMPLING_THREADS = 2


def sample(
    spec: SampleSpec,
    folder: Path,
    out: Path,
    emit: Callable[[Event], None],
    check_stop: Callable[[int], None],
) -> None:
    """Writes ``out/samples.jsonl``, an object an answer, whole or not at all. Raises ``EngineError``."""
    threads(SAMPLING_THREADS)
    base = load(spec.base_model, folder, pick_device("cpu"))
    prompts = [base.renderer.encode(row["messages"], row.get("tools") or []) for row in spec.rows]
    sampler = Sampler(base.renderer, base.eos_ids, spec.temperature, spec.max_completion_length, check_stop)
    emit(PhaseEvent(phase="evaluate"))
    answers = sampler(base.model, prompts, spec.samples_per_row, spec.seed)
    flat = [(row, answer) for row, drawn in enumerate(answers) for answer in drawn]
    lines = [
        json.dumps(
            {
                "index": index,
                "row_index": row,
                "completion": answer.text,
                "length": len(answer.ids),
                "truncated": answer.truncated,
            }
        )
        for index, (row, answer) in enumerate(flat)
    ]
    draft = out / ".samples.jsonl"
    draft.write_text("".join(line + "\n" for line in lines))
    draft.rename(out / "samples.jsonl")
    emit(DoneEvent(outcome="succeeded", step=0))
