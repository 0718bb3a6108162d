"""Item 1: forward and backward passes, the fast path against the plain one, in float32 and bfloat16."""

from __future__ import annotations

from typing import Any

import torch

from tests.gpu.report import Context
from tests.workers.small_models import FAMILIES, gradients, once_a_group, plain, ragged, tuned
from workers.engine.fast import lora

LOGPS, GRADIENTS = 1e-4, 1e-3  # float32: absolute, and relative to the gradients' norm
SLACK = 1.5  # bfloat16: the fast path's error against float32, in errors of the plain path
ADAPTED = 7 * 4  # linear layers of the small models
Found = tuple[torch.Tensor, torch.Tensor]


def check(context: Context) -> None:
    """Compare both paths for every family that the fast path knows."""
    torch.backends.cuda.matmul.allow_tf32 = False
    for family in FAMILIES:
        exact = compute(context, family, torch.float32, fast=False)
        found = compute(context, family, torch.float32, fast=True)
        _compare_exactly(context, family, exact, found)
        rough = {fast: compute(context, family, torch.bfloat16, fast) for fast in (False, True)}
        _compare_roughly(context, family, exact, rough)


def compute(context: Context, family: str, dtype: torch.dtype, fast: bool) -> Found:
    """Log-probabilities and gradients of the small model, its base in ``dtype``, its adapter in float32."""
    model, batch = small_model(family, dtype).to(context.device), ragged().to(context.device)
    if fast:
        changed = lora.speed_up(model)
        context.require(f"The LoRA speed-up takes every layer of {family} in {dtype}.", changed == ADAPTED)
    logps, _ = (once_a_group if fast else plain)(model, batch)
    loss = (batch.advantages.float() * logps.float() * batch.mask).sum()
    return (logps.float() * batch.mask).detach(), gradients(model, loss)


def small_model(family: str, dtype: torch.dtype) -> Any:
    """A small random model whose adapter is as small a part of the output as after training."""
    model = tuned(family).float()
    for name, each in model.named_parameters():
        if "lora_B" in name:
            each.data *= 0.05
        if not each.requires_grad:
            each.data = each.data.to(dtype)
    return model


def _compare_exactly(context: Context, family: str, exact: Found, found: Found) -> None:
    logps = float((found[0] - exact[0]).abs().max())
    relative = float((found[1] - exact[1]).norm() / exact[1].norm())
    context.measure(**{f"{family}_fp32": [float(f"{logps:.2g}"), float(f"{relative:.2g}")]})
    context.require(f"{family}: log-probabilities in float32 agree within {LOGPS:g}.", logps <= LOGPS)
    context.require(f"{family}: gradients in float32 agree within {GRADIENTS:g}.", relative <= GRADIENTS)


def _compare_roughly(context: Context, family: str, exact: Found, rough: dict[bool, Found]) -> None:
    for part, name in enumerate(("log-probabilities", "gradients")):
        own, fast = (float((rough[kind][part] - exact[part]).norm()) for kind in (False, True))
        context.measure(**{f"{family}_bf16_{name[:4]}": [float(f"{own:.2g}"), float(f"{fast:.2g}")]})
        context.require(
            f"{family}: the error of {name} in bfloat16 is at most {SLACK} times the plain path's.",
            fast <= SLACK * own,
        )
