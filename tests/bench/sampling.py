"""Rollouts of one model by the engine's decoder and by ``generate`` as TRL calls it."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GenerationConfig

from workers.engine.base_model.models import Base, fold_adapter
from workers.engine.fast.architecture import describe
from workers.engine.fast.decoder import Completions, Decoder


def with_adapter(model: Any, **options: Any) -> PeftModel:
    """The model with an adapter of rank 16 on every linear layer."""
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM", **options)
    return get_peft_model(model, config).eval()


def decode(base: Base, model: PeftModel, prompts: list[list[int]], each: int, most: int) -> list[Completions]:
    """Decode as the engine does: with folded weights (float32) or a separate adapter (16 bits)."""
    with fold_adapter(model):
        return Decoder(describe(model)).sample(prompts, each, most, 1.0, base.eos_ids)


def generation_config(base: Base, most: int) -> GenerationConfig:
    """Pure temperature sampling of at most ``most`` tokens, as TRL sets it."""
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=most,
        eos_token_id=base.eos_ids,
        pad_token_id=base.tokenizer.pad_token_id,
        disable_compile=True,
    )


def generate(base: Base, model: PeftModel, prompts: list[list[int]], each: int, most: int) -> list[list[int]]:
    """Sample ``each`` completions to every prompt with a separate adapter; cut off their padding."""
    repeated = [prompt for prompt in prompts for _ in range(each)]
    inputs = base.tokenizer.pad({"input_ids": repeated}, padding_side="left", return_tensors="pt")
    with torch.no_grad():
        output = model.generate(**inputs.to(model.device), generation_config=generation_config(base, most))
    completions = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [[token for token in row if token != base.tokenizer.pad_token_id] for row in completions]


def count_tokens(drawn: list[Any]) -> int:
    """Tokens of all completions, of either way's result."""
    return sum(sum(map(len, row.ids)) if isinstance(row, Completions) else len(row) for row in drawn)
