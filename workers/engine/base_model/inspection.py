"""Inspection of a base model: its properties and problems, without loading or fetching its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from workers.contract.adapter import ALL_LINEAR
from workers.contract.base_models import folder_check, model_config
from workers.contract.json_types import JsonObject
from workers.contract.spec import BaseModelRef
from workers.engine.base_model import loading, model_errors, models
from workers.engine.base_model.sources import fetch_texts
from workers.engine.base_model.targets import describe_frozen, find_layers, is_tied, suffixes
from workers.engine.errors import EngineError
from workers.engine.fast.architecture import is_known

GREETING = [{"role": "user", "content": "Hello"}]
ORDER = [{"role": "system", "content": "Be brief."}, *GREETING]


def inspect(ref: BaseModelRef, folder: Path) -> JsonObject:
    """Return ``{problem, facts, notes}``; ``problem`` is ``None`` if the model can be loaded.

    Otherwise it has ``code``, ``message``, ``remedy`` and ``detail``.
    """
    facts: JsonObject = {}
    notes: list[str] = []
    try:
        _inspect(ref, folder, facts, notes)
    except EngineError as error:
        return {"problem": _as_json(error), "facts": facts, "notes": [*notes]}
    except Exception as error:  # files of someone else
        return {"problem": _as_json(loading.explain(ref.id, error)), "facts": facts, "notes": [*notes]}
    return {"problem": None, "facts": facts, "notes": [*notes]}


def _as_json(error: EngineError) -> JsonObject:
    return {
        "code": error.code, "message": error.message, "remedy": error.remedy, "detail": error.detail[:2000],
    }  # fmt: skip


def _inspect(ref: BaseModelRef, folder: Path, facts: JsonObject, notes: list[str]) -> None:
    path, sizes = fetch_texts(ref, folder)
    facts["weight_bytes"] = sum(size for name, size in sizes.items() if _is_loaded(name, sizes))
    if problem := _find_problem(path, sizes):
        raise EngineError(problem.code, f"{ref.id}: {problem.message}", problem.remedy)
    config = loading.load_config(ref.id, path)
    text = config.get_text_config()
    facts["kind"] = config.model_type
    facts["context"] = model_config.find(text, "context")
    tokenizer = loading.load_tokenizer(ref.id, path)
    facts["dtype"] = str(getattr(config, "dtype", None) or "unknown").removeprefix("torch.")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False, attn_implementation="eager")
    layers = find_layers(model, ALL_LINEAR)
    facts |= {
        "class": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tied": is_tied(model),
        "path": "fast" if is_known(model) else "plain",
        "targets": [*suffixes(layers)],
    }
    if frozen := describe_frozen(model, layers):
        notes.append(frozen)
    if not models.end_tokens(model, tokenizer):
        raise model_errors.no_end_token(ref.id)
    _check_template(ref, tokenizer, models.embedding_rows(model), facts, notes)


def _is_loaded(name: str, names: dict[str, int]) -> bool:
    if name.endswith(".safetensors"):
        return "/" not in name and not name.startswith(folder_check.CONSOLIDATED)
    only_pickled = not any(other.endswith(".safetensors") for other in names)
    return only_pickled and folder_check.is_weights(name)


def _find_problem(path: Path, sizes: dict[str, int]) -> folder_check.Problem | None:
    pickled = loading.allows_pickled()
    if all((path / name).exists() for name in sizes):
        return folder_check.find_problem(path, pickled)
    return (
        folder_check.find_missing(sizes.keys(), pickled)
        or folder_check.find_config_problem(path)
        or folder_check.find_tokenizer_problem(path)
    )


def _check_template(
    ref: BaseModelRef, tokenizer: Any, rows: int, facts: JsonObject, notes: list[str]
) -> None:
    if ref.chat_template:
        tokenizer.chat_template = ref.chat_template
    facts["chat_template"] = tokenizer.chat_template is not None
    if tokenizer.chat_template is None:
        notes.append(
            "Its tokenizer has no chat template, so messages cannot be rendered as a prompt. Add the model "
            "again with a chat template."
        )
        return
    try:
        ids = tokenizer.apply_chat_template(GREETING, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
    except Exception as error:  # templates are code of the model's authors and raise any exception
        raise model_errors.template_refuses(ref.id, "of one greeting", str(error)) from error
    if (largest := max(ids, default=0)) >= rows:
        raise model_errors.tokens_beyond_model(ref.id, largest, rows)
    try:
        facts["system_role"] = "Be brief." in tokenizer.apply_chat_template(ORDER, tokenize=False)
    except Exception:  # many templates refuse a system message with an exception
        facts["system_role"] = False


def write_inspection(ref: BaseModelRef, folder: Path, out: Path) -> None:
    """Write ``out/inspection.json`` atomically."""
    out.mkdir(parents=True, exist_ok=True)
    draft = out / ".inspection.json"
    draft.write_text(json.dumps(inspect(ref, folder), indent=1) + "\n")
    draft.rename(out / "inspection.json")
