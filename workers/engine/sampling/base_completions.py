"""Completions of a base model to a few rows, for trying graders and prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from workers.contract.events import DoneEvent, Event, PhaseEvent
from workers.contract.spec import SampleSpec
from workers.engine.base_model.models import load, pick_device
from workers.engine.sampling.batches import Sampler

SAMPLING_THREADS = 2


def sample(
    spec: SampleSpec,
    folder: Path,
    out: Path,
    emit: Callable[[Event], None],
    check_stop: Callable[[int], None],
) -> None:
    """Write ``out/samples.jsonl``, one object per completion, atomically. Raises ``EngineError``."""
    torch.set_num_threads(SAMPLING_THREADS)
    base = load(spec.base_model, folder, pick_device("cpu"))
    prompts = [base.renderer.encode(row.messages, row.tools or []) for row in spec.rows]
    sampler = Sampler(base.renderer, base.eos_ids, spec.temperature, spec.max_completion_length, check_stop)
    emit(PhaseEvent(phase="evaluate"))
    completions = sampler(base.model, prompts, spec.samples_per_row, spec.seed)
    flat = [(row, each) for row, own in enumerate(completions) for each in own]
    lines = [
        json.dumps(
            {
                "index": index,
                "row_index": row,
                "completion": each.text,
                "length": len(each.ids),
                "truncated": each.truncated,
            }
        )
        for index, (row, each) in enumerate(flat)
    ]
    draft = out / ".samples.jsonl"
    draft.write_text("".join(line + "\n" for line in lines))
    draft.rename(out / "samples.jsonl")
    emit(DoneEvent(outcome="succeeded", step=0))
