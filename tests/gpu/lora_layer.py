"""Item 2: one LoRA layer as wide as a 7B model's, by PEFT, by PEFT under autocast, and by the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from tests.gpu.report import Context
from workers.engine.fast import lora

RUNS = 10
SLACK = 1.1  # timing noise


def check(context: Context) -> None:
    """Time forward and backward and take the peak of memory, each way."""
    tokens, narrow, wide = context.sized((8192, 3584, 18944), (64, 32, 64))
    found = {}
    for way in ("peft", "autocast", "engine"):
        layer = adapted_layer(context, narrow, wide)
        if way == "engine":
            context.require("The LoRA speed-up takes the layer.", lora.speed_up(layer) == 1)
        x = torch.randn(tokens, narrow, device=context.device, dtype=torch.bfloat16, requires_grad=True)
        work = one_pass(layer, x, context.device.type if way == "autocast" else None)
        context.forget_peak()
        found[way] = context.median_seconds(work, RUNS)
        context.measure(**{f"{way}_ms": 1e3 * found[way], f"{way}_gib": context.peak_gib()})
    context.require_on_gpu(
        "The engine's layer is not slower than PEFT's under autocast.",
        found["engine"] <= SLACK * found["autocast"],
    )


def adapted_layer(context: Context, narrow: int, wide: int) -> nn.Module:
    """A layer in bfloat16 with an adapter of rank 16 in float32, as in every GPU job."""
    torch.manual_seed(0)
    with torch.device(context.device):
        model = nn.Sequential(nn.Linear(narrow, wide, bias=False, dtype=torch.bfloat16)).requires_grad_(False)
        config = LoraConfig(r=16, lora_alpha=32, target_modules=["0"], init_lora_weights=False)
        adapted: nn.Module = inject_adapter_in_model(config, model)
    for name, each in adapted.named_parameters():
        if "lora_" in name:
            each.data = each.data.float()
    return adapted


def one_pass(layer: Any, x: torch.Tensor, autocast: str | None) -> Callable[[], None]:
    """Forward and backward; ``autocast`` names the device's type."""

    def work() -> None:
        with torch.autocast(autocast or "cpu", torch.bfloat16, enabled=autocast is not None):
            output = layer(x)
        output.backward(torch.ones_like(output))
        x.grad = None

    return work
