"""Item 5: when memory runs out, a step is done again in smaller passes with the same gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tests.gpu.models import Sizes, engine_trainer, free, job, random_base
from tests.gpu.report import Context
from workers.contract.events import LogEvent
from workers.engine.memory import MemoryPlan

FULL, SMALL = Sizes(prompt=256, completion=256, prompts=4, group=8), Sizes(24, 6, 2, 2)
SAME = 1e-3  # relative difference of gradients in float32
ROOM = 0.75  # of what the first plan takes beyond the weights: too little for it, enough for half


def check(context: Context) -> None:
    """Compute one step's gradients with all the memory, and again with too little."""
    sizes = context.sized(FULL, SMALL)
    base = random_base(context, "1.5B", torch.float32)
    spec, rows = job(context, sizes, 1)
    messages: list[Any] = []
    plan = MemoryPlan(sizes.work.tokens, gradient_checkpointing=False)
    trainer = engine_trainer(base, spec, rows, context.folder / "engine", plan, messages)
    inputs = draw_step(trainer, sizes)
    free(context)
    held = 0 if context.small else torch.cuda.memory_allocated()
    calm = step_gradients(trainer, inputs)
    peak = 0 if context.small else torch.cuda.max_memory_allocated()
    free(context)
    with limited(context, trainer, held + int(ROOM * (peak - held)), sizes):
        tight = step_gradients(trainer, inputs)
    warned = [each for each in messages if isinstance(each, LogEvent) and each.level == "warning"]
    difference = float((tight - calm).norm() / calm.norm())
    context.measure(planned=plan.tokens, shrunk_to=trainer.most_tokens, gradient_difference=difference)
    context.require("The passes are halved.", trainer.most_tokens < plan.tokens)
    context.require("The log warns each time.", bool(warned))
    context.require(f"The gradients agree within {SAME:g}.", difference <= SAME)


def draw_step(trainer: Any, sizes: Sizes) -> dict[str, Any]:
    """One step's rollouts, graded and with their advantages, as TRL hands them to the loss."""
    trainer.model.train()
    # B of a fresh adapter is 0, and so would be the gradient of A.
    for name, each in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(each, std=1e-3)
    rows = [trainer.train_dataset[row] for row in range(sizes.prompts) for _ in range(sizes.group)]
    inputs: dict[str, Any] = trainer._prepare_inputs(rows)
    trainer.current_gradient_accumulation_steps = 1
    return inputs


def step_gradients(trainer: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The adapter's gradients of one step, in one vector on the CPU."""
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, inputs)
    found = [each.grad.flatten() for each in trainer.model.parameters() if each.grad is not None]
    gradients = torch.cat(found).cpu()
    trainer.model.zero_grad()
    return gradients


@contextmanager
def limited(context: Context, trainer: Any, allowed: int, sizes: Sizes) -> Iterator[None]:
    """Limit PyTorch to ``allowed`` bytes of the GPU; on a CPU let the model refuse large passes."""
    if context.small:
        hook = trainer.model.get_base_model().register_forward_pre_hook(
            _refusing(sizes.work.tokens // 2), with_kwargs=True
        )
        yield
        hook.remove()
        return
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _refusing(most: int) -> Any:
    def refuse(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if kwargs["input_ids"].numel() > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return refuse
