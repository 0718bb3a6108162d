"""The initial adapter, from which training continues. A frozen copy of it is the reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from trl.trainer.utils import use_adapter

from workers.contract import adapter
from workers.contract.spec import AdapterRef, JobSpec, LoraSettings
from workers.engine import errors
from workers.engine.base_model import model_errors
from workers.engine.base_model.targets import adapted_layers, find_layers, refuse_head
from workers.engine.checkpoint import sha256_of
from workers.engine.memory import is_out_of_memory

REFERENCE = "ref"  # TRL's name of the reference adapter


def attach(spec: JobSpec, model: PreTrainedModel, folder: Path) -> PeftModel | None:
    """Return the base with the job's initial adapter, trainable; ``None`` if the job has none.

    Raises ``EngineError`` if the adapter is not the pinned one, does not fit the base, or has another shape
    than the job's settings.
    """
    if (initial := spec.initial_adapter) is None:
        return None
    path = folder / initial.path
    config = _check_files(initial, path, spec.lora)
    # The targets must agree. ``layers_to_transform`` and the like remain the adapter's own.
    if find_layers(model, config.targets) != find_layers(model, spec.lora.targets):
        raise model_errors.initial_adapter_disagrees(
            initial.id, f"the targets {config.targets}", f"the targets {spec.lora.targets}"
        )
    try:
        peft_config = LoraConfig.from_pretrained(path)
        peft_config.lora_dropout = spec.lora.dropout
        tuned = PeftModel.from_pretrained(model, path, config=peft_config, is_trainable=True)
    except Exception as error:  # PEFT has many exceptions for an adapter that does not fit
        if is_out_of_memory(error):
            raise
        raise model_errors.initial_adapter_unusable(initial.id, str(error)) from error
    _refuse_foreign_layers(initial, tuned)
    _refuse_other_weights(initial, path, tuned)
    return tuned


def keep_reference(model: PeftModel) -> None:
    """Add a frozen copy of the adapter, before any training. With beta above 0 TRL has added it already."""
    if REFERENCE not in model.peft_config:
        model.add_adapter(REFERENCE, model.peft_config["default"])
        for name, parameter in model.named_parameters():
            if ".default." in name:
                model.get_parameter(name.replace(".default.", f".{REFERENCE}.")).data.copy_(parameter.data)
    model.set_adapter("default")


@contextmanager
def use_reference(model: PeftModel) -> Iterator[None]:
    """Inside, the model has its initial adapter, or none if it began from the base.

    Without any adapter the model would be the wrong reference for a continued one (TRL issue 4723).
    """
    with use_adapter(model, REFERENCE if REFERENCE in model.peft_config else None):
        yield


def _check_files(initial: AdapterRef, path: Path, lora: LoraSettings) -> adapter.AdapterConfig:
    for name in (adapter.CONFIG, adapter.WEIGHTS):
        if not (path / name).is_file():
            raise errors.file_missing(path / name)
    found = sha256_of(path / adapter.WEIGHTS)
    if found != initial.sha256:
        raise errors.hash_differs(path / adapter.WEIGHTS, initial.sha256, found)
    try:
        config = adapter.read_config((path / adapter.CONFIG).read_bytes())
        with (path / adapter.WEIGHTS).open("rb") as file:
            adapter.check_weights(file, (path / adapter.WEIGHTS).stat().st_size, config)
    except adapter.AdapterInvalid as error:
        raise model_errors.initial_adapter_unusable(initial.id, str(error)) from error
    if (config.r, config.lora_alpha) != (lora.rank, lora.alpha):
        expected = f"rank {lora.rank} and alpha {lora.alpha}"
        raise model_errors.initial_adapter_disagrees(
            initial.id, f"rank {config.r} and alpha {config.lora_alpha}", expected
        )
    return config


def _refuse_foreign_layers(initial: AdapterRef, model: PeftModel) -> None:
    """Raise ``EngineError`` for an adapted head, embedding or convolution, which training here ignores."""
    base = model.get_base_model()
    adapted = adapted_layers(base)
    refuse_head(base, adapted, f"The targets of the adapter {initial.id}")
    for name in sorted(adapted):
        layer: Any = base.get_submodule(name)
        if not isinstance(layer.get_base_layer(), nn.Linear | Conv1D):
            raise model_errors.initial_adapter_unusable(
                initial.id, f"it changes {name}, which is not a linear layer."
            )


def _refuse_other_weights(initial: AdapterRef, path: Path, model: PeftModel) -> None:
    """Raise ``EngineError`` unless all weights were loaded: PEFT only warns about those that do not fit."""
    with safe_open(path / adapter.WEIGHTS, "pt") as file:
        stored = set(file.keys())
    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if stored != expected:
        odd = sorted(stored ^ expected)
        reason = f"{len(odd)} weights do not match, among them {odd[0]}"
        raise model_errors.initial_adapter_unusable(initial.id, reason)
