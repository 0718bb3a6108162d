"""Adapters with random weights that change what a model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model


def save_adapter(model: Any, folder: Path, seed: int, **shape: Any) -> Path:
    """Save an adapter of this shape; the model is left as it was."""
    config = LoraConfig(**{"lora_alpha": 16, "task_type": "CAUSAL_LM", **shape})
    tuned = get_peft_model(model, config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.1)
    tuned.save_pretrained(folder)
    tuned.unload()
    return folder
