"""Random models of every family that the fast path knows, and batches that are hard on it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from trl.trainer.utils import add_fused_lm_head

from workers.engine.fast import shared_prefix

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
WIDE = SIZES | {"head_dim": 16}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**WIDE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**WIDE)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**WIDE, sliding_window=8, layer_types=["sliding_attention", "full_attention"] * 2)
    ),
}
TEMPERATURE = 0.9


def tuned(family: str) -> Any:
    """A small random model with a random adapter, in float64, its head fused as TRL's trainer does."""
    torch.manual_seed(0)
    model = FAMILIES[family]().double()
    add_fused_lm_head(model, temperature=TEMPERATURE, outputs=("log_probs", "entropy"))
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    shared_prefix.prepare(model)
    return get_peft_model(model, config).double().train()


@dataclass
class Batch:
    """Ragged groups in shuffled order: prompts padded on the left, completions on the right."""

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    advantages: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on another device."""
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))


def ragged() -> Batch:
    """Groups of 4, 4 and 2 rows; prompts of 30, 25 and 1 tokens; completions of 1 to 12."""
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(12, 60, (n,), generator=generator) for n in (30, 25, 1)]
    rows = [prompts[0]] * 4 + [prompts[1]] * 4 + [prompts[2]] * 2
    order = torch.randperm(len(rows), generator=generator).tolist()
    batch = Batch(*(torch.zeros(10, width, dtype=torch.long) for width in (30, 30, 12, 12)), torch.empty(0))
    for row, source in enumerate(order):
        prompt, length = rows[source], 1 + (source * 5) % 12
        batch.prompt_ids[row, 30 - len(prompt) :] = prompt
        batch.prompt_mask[row, 30 - len(prompt) :] = 1
        batch.mask[row, :length] = 1
    batch.ids = torch.randint(12, 60, (10, 12), generator=generator)
    batch.advantages = torch.randn(10, 1, generator=generator, dtype=torch.float64)
    return batch


def plain(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute every row completely, as TRL does."""
    ids = torch.cat([batch.prompt_ids, batch.ids], dim=1)
    mask = torch.cat([batch.prompt_mask, batch.mask], dim=1)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :30] = -100
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, labels=labels, fused_lm_head=True
    )
    return output.log_probs[:, -12:], output.entropy[:, -12:]


def once_a_group(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    layout = shared_prefix.lay_out(batch.prompt_ids, batch.prompt_mask, batch.ids, batch.mask)
    assert layout.tokens == 29 + 24 + 0 + int(batch.mask.sum())
    return shared_prefix.per_token(model, layout, batch.mask)


def gradients(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
