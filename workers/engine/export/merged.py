"""Base and adapter as one model in safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from workers.engine.base_model.tokenizer_files import write_tokenizer
from workers.engine.export.checking import Verification, check_logprobs, check_tensors
from workers.engine.export.config_files import write_configs
from workers.engine.export.source import CheckStop, Source


def export(source: Source, folder: Path, check_stop: CheckStop) -> Verification:
    """Merge, write the folder, and check it."""
    model = merge(source)
    write(model, source, folder)
    check_stop()
    return check(model, source, folder)


def merge(source: Source) -> Any:
    """Return the model with B·A added into its weights. This changes ``source.model``.

    Raises ValueError if a merged weight is not finite.
    """
    return source.model.merge_and_unload(safe_merge=True)


def write(merged: Any, source: Source, folder: Path) -> None:
    """Write the weights, and the base's config and tokenizer."""
    merged.save_pretrained(folder)
    write_configs(merged, source.base_path, folder)
    write_tokenizer(source.tokenizer, source.base_path, folder)


def check(merged: Any, source: Source, folder: Path) -> Verification:
    """Load the folder with transformers and check weights and log-probabilities."""
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, source.stored.dtype))
    tensors = check_tensors(again.state_dict(), merged.state_dict())
    return check_logprobs(again, source, "loaded with transformers", tensors)
