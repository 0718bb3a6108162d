"""Base and adapter as one model in safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from workers.engine.export.checking import Verification, same_numbers, same_tensors
from workers.engine.export.source import Source


def merge(source: Source) -> Any:
    """The model with B·A added into its weights; ``source.model`` is used up.

    Raises ValueError if a merged weight is not finite.
    """
    return source.model.merge_and_unload(safe_merge=True)


def write(merged: Any, source: Source, folder: Path) -> None:
    """Weights, config and tokenizer, as ``from_pretrained`` and vLLM read them."""
    merged.save_pretrained(folder)
    source.tokenizer.save_pretrained(folder)


def check(merged: Any, source: Source, folder: Path) -> Verification:
    """Loads the folder with transformers and compares weights and log-probabilities."""
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, source.stored.dtype))
    tensors = same_tensors(again.state_dict(), merged.state_dict())
    return same_numbers(again, source, "loaded with transformers", tensors)
