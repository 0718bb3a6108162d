"""LoRA layers with fewer passes over memory: the same sums, written into one tensor.

PEFT forms the base's output, the adapter's, the scaled adapter's and their sum: four tensors of the output's
size, and as many again in the backward pass. Here the adapter's product is added into the base's output.

On a GPU the base has 16 bits and the adapter float32. PEFT then multiplies in float32; here the products are
in the base's precision, as under autocast, while the adapter and its gradients remain in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.nn.functional import linear

HALF_PRECISION = {torch.bfloat16, torch.float16}


class _LoraLinear(torch.autograd.Function):
    """x W' + s (x A') B' over (tokens, width), with gradients for x, A and B in their own precision."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        ctx.scaling, ctx.adapter_dtype = scaling, a.dtype
        a, b = a.to(x.dtype), b.to(x.dtype)
        inner = x @ a.t()
        ctx.save_for_backward(x, weight, a, b, inner)
        return linear(x, weight, bias).addmm_(inner, b.t(), alpha=scaling)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, a, b, inner = ctx.saved_tensors
        inner_gradient = (gradient @ b).mul_(ctx.scaling)
        into_b = (gradient.t() @ inner).mul_(ctx.scaling)
        into_a = inner_gradient.t() @ x
        into_x = None
        if ctx.needs_input_grad[0]:
            into_x = (gradient @ weight).addmm_(inner_gradient, a)
        return into_x, None, None, into_a.to(ctx.adapter_dtype), into_b.to(ctx.adapter_dtype), None


def _build_forward(layer: Linear, adapter: str) -> Any:
    plain = layer.forward

    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        base = layer.get_base_layer()
        only_this = not layer.disable_adapters and not layer.merged and layer.active_adapters == [adapter]
        if not only_this or args or kwargs or x.dtype != base.weight.dtype:
            result: torch.Tensor = plain(x, *args, **kwargs)
            return result
        a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
        flat = x.reshape(-1, x.size(-1))
        apply: Any = _LoraLinear.apply
        output: torch.Tensor = apply(flat, base.weight, base.bias, a, b, layer.scaling[adapter])
        return output.view(*x.shape[:-1], -1)

    return forward


def speed_up(model: nn.Module, adapter: str = "default") -> int:
    """Give every plain LoRA layer of ``model`` the forward above; return the number of changed layers.

    Layers with dropout, a LoRA variant or quantised weights keep their forward.
    """
    changed = 0
    for layer in model.modules():
        if isinstance(layer, Linear) and adapter in layer.lora_A and _is_plain(layer, adapter):
            layer.forward = _build_forward(layer, adapter)
            changed += 1
    return changed


def _is_plain(layer: Linear, adapter: str) -> bool:
    weight, adapted = layer.get_base_layer().weight.dtype, layer.lora_A[adapter].weight.dtype
    return (
        isinstance(layer.lora_dropout[adapter], nn.Identity)
        and adapter not in layer.lora_variant
        and (weight == adapted or (weight in HALF_PRECISION and adapted == torch.float32))
        and layer.lora_B[adapter].bias is None
        and not layer.fan_in_fan_out
    )
