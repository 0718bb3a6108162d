"""Parts of a decoder-only model, read from its modules: the same for every supported family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.nn.functional import linear, rms_norm
from transformers import PreTrainedModel

from workers.contract.memory import FUSED_PARAMETERS

SUPPORTED = {"llama", "qwen2", "qwen3", "gemma3_text"}
ROTARY = {"default", "linear", "llama3", "yarn"}  # angles that do not depend on the sequence's length


class Layer(Protocol):
    """A linear layer, or several with the same input whose outputs are concatenated."""

    @property
    def size(self) -> int:
        """Number of weights: products to one token."""
        ...

    def __call__(self, x: torch.Tensor, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Norm:
    """RMS norm; ``weight`` multiplies the normalised values, in its own precision."""

    weight: torch.Tensor
    epsilon: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.epsilon).to(x.dtype)


@dataclass(frozen=True)
class Projection:
    """Linear layers with the same input as one layer: their outputs are concatenated."""

    parts: list[tuple[torch.Tensor, torch.Tensor | None]]
    lora: list[tuple[torch.Tensor, torch.Tensor, float] | None]

    @property
    def size(self) -> int:
        return sum(weight.numel() for weight, _ in self.parts)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [
            linear(x, weight, bias) if lora is None else _linear_with_lora(x, weight, bias, *lora)
            for (weight, bias), lora in zip(self.parts, self.lora, strict=True)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)


@dataclass(frozen=True)
class Block:
    """One layer. ``window`` limits how far attention reaches back; ``rotary`` names the table of angles."""

    attention_norm: Norm
    qkv: Layer
    query_norm: Norm | None
    key_norm: Norm | None
    output: Layer
    after_attention: Norm | None
    mlp_norm: Norm
    gate_up: Layer
    down: Layer
    after_mlp: Norm | None
    window: int | None
    rotary: str
    scale: float


@dataclass(frozen=True)
class Architecture:
    """A whole model in its present state: folded adapters are in the weights, others are separate."""

    embed: Callable[[torch.Tensor], torch.Tensor]
    blocks: list[Block]
    norm: Norm
    head: Projection
    softcap: float | None
    activation: Callable[[torch.Tensor], torch.Tensor]
    heads: int
    kv_heads: int
    width: int
    angles: Callable[[torch.Tensor, torch.Tensor, str], tuple[torch.Tensor, torch.Tensor]]


def is_known(model: PreTrainedModel) -> bool:
    """Return True if the fast path supports ``model``."""
    config = model.config
    rotary = getattr(config, "rope_parameters", None) or {}
    kinds = [rotary] if "rope_type" in rotary else list(rotary.values())
    return (
        config.model_type in SUPPORTED
        and all(kind is None or kind.get("rope_type") in ROTARY for kind in kinds)
        and not getattr(config, "attn_logit_softcapping", None)
        and not getattr(config, "use_bidirectional_attention", False)
    )


def describe(model: PreTrainedModel | PeftModel) -> Architecture:
    """Return the parts of a supported model, with adapters unless they are folded in or switched off."""
    model = model.get_base_model() if isinstance(model, PeftModel) else model
    backbone: Any = model.base_model
    config, fuse = model.config, _parameters(model) <= FUSED_PARAMETERS
    head: Any = model.get_output_embeddings()
    first = backbone.layers[0].self_attn
    return Architecture(
        embed=backbone.embed_tokens,
        blocks=[_block(layer, fuse) for layer in backbone.layers[: config.num_hidden_layers]],
        norm=_norm(backbone.norm),
        head=_projection([head], fuse=False),
        softcap=getattr(config, "final_logit_softcapping", None),
        activation=backbone.layers[0].mlp.act_fn,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        width=first.head_dim,
        angles=lambda x, at, kind: backbone.rotary_emb(x, at, kind) if kind else backbone.rotary_emb(x, at),
    )


def _block(layer: Any, fuse: bool) -> Block:
    attention, mlp = layer.self_attn, layer.mlp
    sandwich = hasattr(layer, "pre_feedforward_layernorm")  # Gemma also norms what a layer adds
    window = getattr(attention, "sliding_window", None)
    return Block(
        attention_norm=_norm(layer.input_layernorm),
        qkv=_projection([attention.q_proj, attention.k_proj, attention.v_proj], fuse),
        query_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        output=_projection([attention.o_proj], fuse),
        after_attention=_norm(layer.post_attention_layernorm) if sandwich else None,
        mlp_norm=_norm(layer.pre_feedforward_layernorm if sandwich else layer.post_attention_layernorm),
        gate_up=_projection([mlp.gate_proj, mlp.up_proj], fuse),
        down=_projection([mlp.down_proj], fuse),
        after_mlp=_norm(layer.post_feedforward_layernorm) if sandwich else None,
        window=window,
        rotary=attention.layer_type if sandwich else "",
        scale=attention.scaling,
    )


def _norm(module: Any) -> Norm:
    if hasattr(module, "variance_epsilon"):
        return Norm(module.weight.detach(), module.variance_epsilon)
    # Gemma's weights are offsets from 1. In 16 bits the sum would be rounded, unlike in the model itself.
    weight = module.weight.detach()
    return Norm(1.0 + weight.to(torch.promote_types(weight.dtype, torch.float32)), module.eps)


def _projection(modules: list[Any], fuse: bool) -> Projection:
    parts = [_weights(module) for module in modules]
    lora = [_lora(module) for module in modules]
    if fuse and len(parts) > 1 and not any(lora) and all(bias is None for _, bias in parts):
        return Projection([(torch.cat([weight for weight, _ in parts]), None)], [None])
    return Projection(parts, lora)


def _weights(module: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    layer = module.get_base_layer() if isinstance(module, LoraLayer) else module
    return layer.weight.detach(), None if layer.bias is None else layer.bias.detach()


def _lora(module: Any) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """Return the active adapter's A, B and scale; ``None`` if it is switched off or missing."""
    if not isinstance(module, LoraLayer) or module.disable_adapters or module.merged:
        return None
    (name,) = module.active_adapters
    if name not in module.lora_A:
        return None
    return (
        module.lora_A[name].weight.detach(),
        module.lora_B[name].weight.detach(),
        module.scaling[name],
    )


def _linear_with_lora(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    a: torch.Tensor,
    b: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    added = linear(linear(x.to(a.dtype), a), b) * scale
    return (linear(x, weight, bias) + added).to(x.dtype)


def _parameters(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
