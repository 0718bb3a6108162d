"""LoRA targets: the layers that an adapter changes, and the share of a model that stays frozen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workers.contract.adapter import ALL_LINEAR, WEIGHTS
from workers.contract.base_models import model_config
from workers.contract.spec import LoraSettings
from workers.engine.base_model import model_errors

ROUTERS = {"gate", "router", "shared_expert_gate", "wg"}
"""Parts of layer names of routers in a mixture of experts: training them unbalances the experts."""

MAMBAS = {"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"}
FUSED = {"gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}

FROZEN_EXPERTS = (
    "This is a mixture of experts. The adapter changes {adapted}; {frozen} and the routers that choose among "
    "them stay frozen, {share:.0%} of the model's parameters."
)


def find_layers(model: PreTrainedModel, targets: str) -> set[str]:
    """Return the names of linear layers that match ``LoraSettings.targets``, in a model without adapter.

    ``all-linear`` is every linear layer but the head and the routers of a mixture of experts. Layers that
    PEFT cannot adapt, or would confuse with experts, are left out.
    """
    linear = {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D)}
    if targets != ALL_LINEAR:
        found = {name for name in linear if re.fullmatch(targets, name)}
    else:
        head = model.get_output_embeddings()
        found = linear - {name for name, layer in model.named_modules() if layer is head}
        if model_config.is_mixture(model.config.get_text_config()):
            found = {name for name in found if not ROUTERS & set(name.split("."))}
    return _without_fused(model, found - _unread_by_kernels(model, found))


def _unread_by_kernels(model: PreTrainedModel, names: set[str]) -> set[str]:
    """Return those of ``names`` whose weights a Mamba kernel reads directly, so that PEFT refuses them."""
    if model.config.model_type not in MAMBAS:
        return set()
    return {name for name in names if name.rsplit(".", 1)[-1] == "out_proj"}


def _without_fused(model: PreTrainedModel, names: set[str]) -> set[str]:
    """Return ``names`` without those that PEFT would replace by fused experts of the same name.

    It does so also for ``gate_proj``, ``up_proj`` and ``down_proj`` of dense layers and shared experts.
    """
    config = LoraConfig(target_modules=sorted(names))
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError:  # only some of the layers that are fused into one are among them
        return {name for name in names if name.rsplit(".", 1)[-1] not in FUSED}
    return names & set(config.target_modules or [])


def choose_layers(model: PreTrainedModel, lora: LoraSettings) -> set[str]:
    """Return ``find_layers`` of a job. Raises ``EngineError`` without layers or for the head."""
    found = find_layers(model, lora.targets)
    if not found:
        raise model_errors.no_layer_matches(lora.targets, suffixes(find_layers(model, ALL_LINEAR)))
    refuse_head(model, found, "The job's LoRA targets")
    return found


def refuse_head(model: PreTrainedModel, names: set[str], whose: str) -> None:
    """Raise ``EngineError`` if the head is among ``names``: training computes its output without adapter."""
    head = model.get_output_embeddings()
    for name, layer in model.named_modules():
        if layer is head and name in names:
            raise model_errors.head_adapted(whose, name, is_tied(model))


def is_tied(model: PreTrainedModel) -> bool:
    """Return True if head and input embeddings are one matrix."""
    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    return head is not None and head.weight is embedding.weight


def untie(model: PreTrainedModel) -> None:
    """Give a tied head a matrix of its own, so that merging into one does not change the other."""
    if not is_tied(model):
        return
    head: Any = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False
    model.config.get_text_config().tie_word_embeddings = False
    model._tied_weights_keys = None
    model.all_tied_weights_keys = {}


def changes_tied(model: PreTrainedModel, adapter: Path) -> bool:
    """Return True if head and embeddings are tied and the adapter has weights for one of them."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    names = [name for name, layer in model.named_modules() if layer is head or layer is embedding]
    with safe_open(adapter / WEIGHTS, "pt") as file:
        stored = [f"{name}." for name in file.keys()]  # noqa: SIM118 - no dictionary
    return is_tied(model) and any(f".{name}." in key for name in names for key in stored)


def adapted_layers(model: PreTrainedModel) -> set[str]:
    """Return the names of the layers that hold an adapter."""
    return {name for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def suffixes(names: set[str]) -> list[str]:
    """Return the last parts of layer names, each once: ``["down_proj", "q_proj"]``."""
    return sorted({name.rsplit(".", 1)[-1] for name in names})


def describe_frozen(model: PreTrainedModel, names: set[str]) -> str:
    """Describe what an adapter of a mixture of experts leaves frozen; empty for a dense model."""
    if not model_config.is_mixture(model.config.get_text_config()):
        return ""
    experts = {name: p.numel() for name, p in model.named_parameters() if _is_expert(name, p, names)}
    if not experts:
        return ""
    total = sum(parameter.numel() for name, parameter in model.named_parameters() if ".lora_" not in name)
    return FROZEN_EXPERTS.format(
        adapted=", ".join(suffixes(names)),
        frozen=f"the experts ({', '.join(suffixes({name.removesuffix('.weight') for name in experts}))})",
        share=sum(experts.values()) / total,
    )


def _is_expert(name: str, parameter: nn.Parameter, adapted: set[str]) -> bool:
    """Return True if a parameter holds experts and is not adapted."""
    layer = name.rsplit(".", 1)[0].removesuffix(".base_layer")
    inside = "expert" in name or "shared_mlp" in name or (parameter.ndim == 3 and "conv" not in name)
    return inside and parameter.ndim > 1 and layer not in adapted
