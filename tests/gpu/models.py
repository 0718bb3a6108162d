"""Models with random weights, made on the device, and jobs on them: nothing is downloaded."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from tests.bench.jobs import STARTER, write_spec
from tests.bench.speed import SIMILARITY, padded_rows
from tests.gpu.report import Context
from workers.contract.memory import Estimate, Work, estimate
from workers.contract.spec import BaseModelRef, JobSpec
from workers.engine.base_model.models import Base
from workers.engine.memory import MemoryPlan, shape_of
from workers.engine.prompts.data import Row
from workers.engine.training.grpo import Rft
from workers.engine.training.interface import TrainContext
from workers.engine.training.rollouts.recorder import Recorder
from workers.engine.training.trainer import MeasuringTrainer
from workers.grading import GradeResult

SHARED = {"num_hidden_layers": 28, "head_dim": 128}
SIZES: dict[str, dict[str, Any]] = {
    "1.5B": SHARED
    | {
        "vocab_size": 151_936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "7B": SHARED
    | {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
}
TINY = {
    "vocab_size": 4096,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "tie_word_embeddings": True,
}
LONGEST = 4096
RANK = 16


def random_base(context: Context, size: str, dtype: torch.dtype | None = None) -> Base:
    """Build a Qwen3 of this ``size`` (tiny in the small form) with the starter's tokenizer.

    Almost no answer ends before its limit: the end token is one of 150,000 that are about equally likely.
    """
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(STARTER / "model", padding_side="left")
    config = Qwen3Config(
        max_position_embeddings=LONGEST,
        eos_token_id=tokenizer.eos_token_id,
        **context.sized(SIZES[size], TINY),
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or context.dtype)
    try:
        with torch.device(context.device):
            model = Qwen3ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    return Base(
        BaseModelRef(id=f"random/{size}"), STARTER, None, model, tokenizer, [int(tokenizer.eos_token_id)]
    )


def free(context: Context) -> None:
    """Return the memory of models without references to the device."""
    gc.collect()
    context.forget_peak()


@dataclass(frozen=True)
class Sizes:
    """Lengths in tokens, and how many prompts and completions a step has."""

    prompt: int
    completion: int
    prompts: int
    group: int

    @property
    def work(self) -> Work:
        """The same as ``Work``, by which memory is planned."""
        return Work(self.prompt, self.completion, self.prompts * self.group, self.group)


def job(context: Context, sizes: Sizes, steps: int) -> tuple[JobSpec, list[Row]]:
    """A job spec of so many steps and its rows of real text."""
    made = padded_rows(sizes.prompt, sizes.prompts + 1)
    spec = write_spec(
        context.folder,
        STARTER / "model",
        made,
        SIMILARITY,
        device=context.device.type,
        group_size=sizes.group,
        prompts_per_step=sizes.prompts,
        max_prompt_length=sizes.prompt,
        max_completion_length=sizes.completion,
        max_steps=steps,
        warmup_steps=0,
        checkpoint_every=steps,
    )
    rows = [Row(str(number), row["messages"], row) for number, row in enumerate(made[:-1])]
    return JobSpec.model_validate_json(spec.read_text()), rows


def grade(pairs: Sequence[tuple[str, dict[str, Any]]], groups: Any = None) -> list[GradeResult]:
    """Return rewards that differ within every group, whatever a model of random weights writes."""
    return [GradeResult(index % 7 / 7, {}, None, None, 0.0, "") for index, _ in enumerate(pairs)]


def engine_trainer(
    base: Base,
    spec: JobSpec,
    rows: list[Row],
    out: Path,
    plan: MemoryPlan,
    messages: list[Any] | None = None,
) -> MeasuringTrainer:
    """The engine's trainer with a fresh adapter; what it would log is appended to ``messages``."""
    recorder = Recorder(rows, grade, base.renderer, base.eos_ids)
    emit = (messages if messages is not None else []).append
    context = TrainContext(out, base, recorder, spec.grpo.max_steps or 1, plan, emit)
    return Rft(spec, out).build_trainer(context)


def expected_memory(base: Base, spec: JobSpec, sizes: Sizes, plan: MemoryPlan) -> Estimate:
    """The estimate that a job would be shown."""
    assert sizes.work.rollouts == spec.grpo.rollouts_per_step
    return estimate(
        shape_of(base.model), spec.lora.rank, sizes.work, plan.tokens, plan.gradient_checkpointing
    )
