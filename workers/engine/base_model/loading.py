"""Loading of base models and tokenizers from foreign files, without running their code."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from workers.contract.base_models import folder_check
from workers.engine.base_model import model_errors
from workers.engine.base_model.tokenizer_files import write_tokenizer
from workers.engine.errors import EngineError
from workers.engine.memory import is_out_of_memory
from workers.engine.prompts.deadline import deadline

STARTER = Path(__file__).parents[2] / "starter"
ROOTS = "GROOVE_BASE_MODEL_ROOTS"
TEMPLATE_SECONDS = 5.0  # limit for one conversation; published templates take milliseconds
ALLOW_PICKLED = "GROOVE_ALLOW_PICKLED_WEIGHTS"
PACKAGE = re.compile(r"pip install (?:-\S+ )*[`'\"]?([A-Za-z][\w.-]*)|No module named '([\w.]+)'")


def allows_pickled() -> bool:
    """True if the operator lets workers open ``.bin`` weights."""
    return os.environ.get(ALLOW_PICKLED, "").lower() in {"1", "true", "yes", "on"}


def check_files(name: str, folder: Path) -> None:
    """Raise ``EngineError`` with the first problem of the files."""
    if problem := folder_check.find_problem(folder, allows_pickled()):
        raise EngineError(problem.code, f"{name}: {problem.message}", problem.remedy)


def load_config(name: str, folder: Path) -> Any:
    """Load the config of a causal language model. Raises ``EngineError`` for any other model."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # files of someone else
        raise explain(name, error) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise model_errors.no_causal_model(name, str(config.model_type))
    return config


def load_tokenizer(name: str, folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """Load a tokenizer whose ``save_pretrained`` copies the files of ``folder``.

    Raises ``EngineError`` if there is none or a package that it needs is missing.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, **options
        )
    except Exception as error:  # files of someone else
        raise explain(name, error) from error
    bounded: Any = partial(_apply_bounded, tokenizer.apply_chat_template)
    tokenizer.apply_chat_template = bounded
    save: Any = partial(_save, tokenizer, folder)
    tokenizer.save_pretrained = save
    return tokenizer


def _apply_bounded(apply: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Apply a chat template, which is code of the model's authors. Raises ``TooSlow``."""
    with deadline(TEMPLATE_SECONDS):
        return apply(*arguments, **options)


def _save(tokenizer: PreTrainedTokenizerBase, base: Path, folder: str | Path) -> None:
    """Write the tokenizer's files. TRL calls this for each checkpoint."""
    write_tokenizer(tokenizer, base, Path(folder))


def check_root(name: str, folder: Path) -> None:
    """Raise ``EngineError`` unless a folder, after following links, is below one of the operator's roots."""
    roots = [Path(root.strip()).resolve() for root in os.environ.get(ROOTS, "").split(",") if root.strip()]
    if roots and not any(folder.resolve().is_relative_to(root) for root in (STARTER, *roots)):
        raise model_errors.outside_roots(name, ROOTS)


def load_model(
    name: str, folder: Path, dtype: torch.dtype, config: Any = None, **options: Any
) -> PreTrainedModel:
    """Load the weights on the CPU. Raises ``EngineError`` if that fails.

    A config may name kernels on a hub as its attention or experts, which would be downloaded and run.
    Therefore both are fixed here.
    """
    config = config or load_config(name, folder)
    for each in (config, config.get_text_config()):
        each._experts_implementation = None
    supports = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._supports_sdpa
    pickled = allows_pickled() and not list(folder.glob("*.safetensors"))
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa" if supports else "eager",
            trust_remote_code=False,
            use_safetensors=not pickled,
            **options,
        )
    except Exception as error:  # files of someone else
        raise explain(name, error) from error
    return model


def turn_off_dropout(config: Any) -> None:
    """Set the base's dropout to 0: otherwise sampling and training would follow different policies."""
    for each in (config, config.get_text_config()):
        for name, value in list(vars(each).items()):
            if name.endswith(("dropout", "_pdrop", "_drop")) and isinstance(value, float):
                setattr(each, name, 0.0)


def explain(name: str, error: Exception) -> EngineError:
    """Return the error with cause and remedy for an exception of loading a model."""
    text = str(error)
    if isinstance(error, EngineError):
        return error
    if isinstance(error, ImportError) and (found := PACKAGE.search(text)):
        problem = folder_check.package_missing(found[1] or found[2], f"The base model {name}")
        return EngineError(problem.code, problem.message, problem.remedy, text)
    if is_out_of_memory(error):
        return model_errors.base_too_large(name, text)
    if "trust_remote_code" in text or "custom code" in text:
        return model_errors.custom_code(name, text)
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        return model_errors.unknown_architecture(name, transformers.__version__, text)
    return model_errors.model_unusable(name, f"{type(error).__name__}: {text}")
