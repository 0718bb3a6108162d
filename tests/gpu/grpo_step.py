"""Item 4: a GRPO step of 8 x 8 completions in the engine and in plain TRL: speed and memory.

Both go through the model in passes of as many tokens, so that their peaks can be compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from tests.gpu.models import RANK, Sizes, engine_trainer, expected_memory, free, job, random_base
from tests.gpu.report import GIB, Context
from workers.engine.memory import MemoryPlan, plan_memory

FULL, SMALL = Sizes(prompt=512, completion=512, prompts=8, group=8), Sizes(24, 6, 2, 2)
PASS_ROWS = 8  # rows of full length in a pass
STEPS = {"1.5B": (6, 6), "7B": (3, 2)}  # engine and TRL, the warm-up step included
SECONDS = {"1.5B": (28.0, 38.0), "7B": (28.0, 30.0)}  # after which no further step begins
NEAR = 0.25


@dataclass
class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds of every step. After ``most`` seconds training stops, but not before the second step."""

    context: Context
    most: float
    seconds: list[float] = field(default_factory=list)
    _began: float = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.context.synchronize()
        self._began = time.perf_counter()

    def on_step_end(self, _: Any, __: Any, control: Any, **___: Any) -> None:
        self.context.synchronize()
        self.seconds.append(time.perf_counter() - self._began)
        control.should_training_stop |= len(self.seconds) > 1 and sum(self.seconds) > self.most

    @property
    def step(self) -> float:
        """The median without the first step; the first if there is no other."""
        return median(self.seconds[1:] or self.seconds)


def check(context: Context) -> None:
    """Measure both sizes; the smaller first, so that a cut leaves its figures."""
    sizes = context.sized(FULL, SMALL)
    for name in context.sized(("1.5B", "7B"), ("1.5B",)):
        ours, our_peak = _measure_engine(context, name, sizes)
        theirs, their_peak = _measure_trl(context, name, sizes)
        context.measure(**{f"{name}_times_trl": theirs / ours})
        context.require_on_gpu(f"{name}: the engine's peak is not above TRL's.", our_peak <= their_peak)


def _measure_engine(context: Context, name: str, sizes: Sizes) -> tuple[float, float]:
    free(context)
    base = random_base(context, name)
    steps, most = context.sized((STEPS[name][0], SECONDS[name][0]), (2, 60.0))
    spec, rows = job(context, sizes, steps)
    plan = MemoryPlan(PASS_ROWS * sizes.work.longest, gradient_checkpointing=False)
    expected = expected_memory(base, spec, sizes, plan).total / GIB
    own = plan_memory(base.model, spec.lora.rank, sizes.work)
    context.measure(
        **{f"{name}_planned_tokens": own.tokens, f"{name}_planned_checkpointing": own.gradient_checkpointing}
    )
    clock = Clock(context, most)
    trainer = engine_trainer(base, spec, rows, context.folder / f"engine-{name}", plan)
    trainer.add_callback(clock)
    trainer.train()
    peak = _record(context, f"{name}_engine", clock, sizes)
    context.measure(**{f"{name}_estimate_gib": expected})
    context.require_on_gpu(
        f"{name}: the estimate is within {NEAR:.0%} of the peak.", abs(expected - peak) <= NEAR * peak
    )
    return clock.step, peak


def _measure_trl(context: Context, name: str, sizes: Sizes) -> tuple[float, float]:
    free(context)
    base = random_base(context, name)
    steps, most = context.sized((STEPS[name][1], SECONDS[name][1]), (2, 60.0))
    clock = Clock(context, most)
    trainer = plain_trainer(context, base, sizes, steps)
    trainer.add_callback(clock)
    trainer.train()
    return clock.step, _record(context, f"{name}_trl", clock, sizes)


def plain_trainer(context: Context, base: Any, sizes: Sizes, steps: int) -> GRPOTrainer:
    """TRL's trainer with settings that suit it: passes of 8 rows, no checkpointing, autocast on a GPU."""
    _, rows = job(context, sizes, steps)
    together = min(PASS_ROWS, sizes.work.rollouts)
    return GRPOTrainer(
        model=base.model,
        reward_funcs=lambda completions, **_: [index % 7 / 7 for index, _ in enumerate(completions)],
        train_dataset=Dataset.from_list([{"prompt": row.messages} for row in rows]),
        processing_class=base.tokenizer,
        peft_config=LoraConfig(
            r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        args=GRPOConfig(
            output_dir=str(context.folder / "trl"),
            max_steps=steps,
            per_device_train_batch_size=together,
            gradient_accumulation_steps=sizes.work.rollouts // together,
            num_generations=sizes.group,
            max_completion_length=sizes.completion,
            gradient_checkpointing=False,
            bf16=not context.small,
            use_cpu=context.small,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
    )


def _record(context: Context, name: str, clock: Clock, sizes: Sizes) -> float:
    peak, tokens = context.peak_gib(), sizes.work.rollouts * sizes.completion
    context.measure(
        **{
            f"{name}_step_s": clock.step,
            f"{name}_steps": len(clock.seconds),
            f"{name}_tokens_per_s": tokens / clock.step,
            f"{name}_peak_gib": peak,
        }
    )
    return peak
