"""Base and adapter as one model in safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from workers.engine.base_model.tokenizer_files import write_tokenizer
from workers.engine.export.checking import Verification, same_numbers, same_tensors
from workers.engine.export.config_files import write_configs
from workers.engine.export.source import CheckStop, Source


def export(source: Source, folder: Path, check_stop: CheckStop) -> Verification:
    """Merge, write the folder, and check it."""
    model = merge(source)
    write(model, source, folder)
    check_stop()
    return check(model, source, folder)


def merge(source: Source) -> Any:
    """The model with B·A added into its weights; ``source.model`` is used up.

    Raises ValueError if a merged weight is not finite.
    """
    return source.model.merge_and_unload(safe_merge=True)


def write(merged: Any, source: Source, folder: Path) -> None:
    """Write the weights, and config and tokenizer as the base has them."""
    merged.save_pretrained(folder)
    write_configs(merged, source.base_path, folder)
    write_tokenizer(source.tokenizer, source.base_path, folder)


def check(merged: Any, source: Source, folder: Path) -> Verification:
    """Loads the folder with transformers and compares weights and log-probabilities."""
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, source.stored.dtype))
    tensors = same_tensors(again.state_dict(), merged.state_dict())
    return same_numbers(again, source, "loaded with transformers", tensors)
