"""Training that continues from an adapter: it is loaded as trainable, and a frozen copy is the reference."""

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
from workers.engine.base_model.targets import adapted_layers, find_layers, refuse_head
from workers.engine.checkpoint import sha256_of
from workers.engine.memory import is_out_of_memory

REFERENCE = "ref"  # TRL's name for it


def attach(spec: JobSpec, model: PreTrainedModel, folder: Path) -> PeftModel | None:
    """The base with the adapter that the job starts from, trainable; ``None`` if it starts from the base.

    Raises ``EngineError`` if the adapter is not the pinned one, does not fit the base, or has another shape
    than the job's settings say.
    """
    if spec.start is None:
        return None
    path = folder / spec.start.path
    config = _checked(spec.start, path, spec.lora)
    _refuse_other_targets(spec, config, model)
    try:
        peft_config = LoraConfig.from_pretrained(path)
        peft_config.lora_dropout = spec.lora.dropout
        tuned = PeftModel.from_pretrained(model, path, config=peft_config, is_trainable=True)
    except Exception as error:  # PEFT says in many ways that an adapter does not fit
        if is_out_of_memory(error):
            raise
        raise errors.start_unusable(spec.start.id, str(error)) from error
    _refuse_foreign_layers(spec.start, tuned)
    _refuse_other_weights(spec.start, path, tuned)
    return tuned


def keep_reference(model: PeftModel) -> None:
    """Adds a frozen copy of the adapter; to call before any training. With beta above 0 TRL has done so."""
    if REFERENCE not in model.peft_config:
        model.add_adapter(REFERENCE, model.peft_config["default"])
        for name, parameter in model.named_parameters():
            if ".default." in name:
                model.get_parameter(name.replace(".default.", f".{REFERENCE}.")).data.copy_(parameter.data)
    model.set_adapter("default")


@contextmanager
def reference(model: PeftModel) -> Iterator[None]:
    """Inside, the model is what training began with: the adapter that it continues, else the bare base.

    Switching the adapter off would be the wrong reference for a continued one (TRL issue 4723).
    """
    with use_adapter(model, REFERENCE if REFERENCE in model.peft_config else None):
        yield


def _checked(start: AdapterRef, path: Path, lora: LoraSettings) -> adapter.AdapterConfig:
    for name in (adapter.CONFIG, adapter.WEIGHTS):
        if not (path / name).is_file():
            raise errors.file_missing(path / name)
    found = sha256_of(path / adapter.WEIGHTS)
    if found != start.sha256:
        raise errors.hash_differs(path / adapter.WEIGHTS, start.sha256, found)
    try:
        config = adapter.read_config((path / adapter.CONFIG).read_bytes())
    except adapter.AdapterInvalid as error:
        raise errors.start_unusable(start.id, str(error)) from error
    if (config.r, config.lora_alpha) != (lora.rank, lora.alpha):
        asked = f"rank {lora.rank} and alpha {lora.alpha}"
        raise errors.start_disagrees(start.id, f"rank {config.r} and alpha {config.lora_alpha}", asked)
    return config


def _refuse_other_targets(spec: JobSpec, config: adapter.AdapterConfig, model: PreTrainedModel) -> None:
    """The job's targets are the adapter's; ``layers_to_transform`` and the like stay the adapter's own."""
    assert spec.start is not None, "a start that is attached"
    if find_layers(model, config.targets) != find_layers(model, spec.lora.targets):
        raise errors.start_disagrees(
            spec.start.id, f"the targets {config.targets}", f"the targets {spec.lora.targets}"
        )


def _refuse_foreign_layers(start: AdapterRef, model: PeftModel) -> None:
    """Raises ``EngineError`` for an adapted head, embedding or convolution, which training here ignores."""
    base = model.get_base_model()
    adapted = adapted_layers(base)
    refuse_head(base, adapted, f"The targets of the adapter {start.id}")
    for name in sorted(adapted):
        layer: Any = base.get_submodule(name)
        if not isinstance(layer.get_base_layer(), nn.Linear | Conv1D):
            raise errors.start_unusable(start.id, f"it changes {name}, which is no linear layer.")


def _refuse_other_weights(start: AdapterRef, path: Path, model: PeftModel) -> None:
    """PEFT loads what fits and only warns about the rest."""
    with safe_open(path / adapter.WEIGHTS, "pt") as file:
        stored = set(file.keys())
    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if stored != expected:
        odd = sorted(stored ^ expected)
        raise errors.start_unusable(start.id, f"{len(odd)} weights do not match, among them {odd[0]}")
