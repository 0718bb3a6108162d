"""What a PEFT adapter's files say, read without torch and without running anything that they hold."""

from __future__ import annotations

import re
from math import prod
from typing import IO, Any, Final

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MAX_CONFIG_BYTES: Final = 1_000_000
MAX_HEADER_BYTES: Final = 25_000_000
BYTES: Final = {"F32": 4, "F16": 2, "BF16": 2}
TENSOR: Final = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<part>[AB])\.weight")


class AdapterInvalid(ValueError):
    """Files that training cannot continue from; the message says why and what to do."""


class AdapterConfig(BaseModel):
    """The fields of ``adapter_config.json`` that decide what is trained; names are PEFT's."""

    model_config = ConfigDict(extra="allow")
    peft_type: str
    r: int = Field(ge=1, le=256)
    lora_alpha: int = Field(ge=1, le=1024)
    target_modules: list[str] | str = Field(min_length=1)
    base_model_name_or_path: str | None = None

    @property
    def targets(self) -> str:
        """The target modules as one pattern over module names, as ``LoraSettings.targets`` takes it."""
        if isinstance(self.target_modules, str):
            return self.target_modules
        return rf"(.*\.)?({'|'.join(re.escape(name) for name in sorted(self.target_modules))})"


class Tensor(BaseModel):
    """What a safetensors header says of a tensor; offsets are bytes behind the header."""

    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


HEADER: Final = TypeAdapter(dict[str, Tensor | dict[str, str]])
MERGE_FIRST: Final = " Merge it into its base and upload that as a base model."
PLAIN: Final[dict[str, tuple[Any, ...]]] = {
    "bias": ("none",),
    "use_dora": (False,),
    "lora_bias": (False,),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, []),
    "layer_replication": (None, []),
    "init_lora_weights": (True, False, "gaussian"),
}
"""Values of settings with which an adapter is nothing but one A and one B per layer."""


def read_config(content: bytes) -> AdapterConfig:
    """Raises ``AdapterInvalid`` unless it is the config of a plain LoRA adapter."""
    try:
        config = AdapterConfig.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise AdapterInvalid(f"{CONFIG}: {place}: {first['msg']}. Upload what PEFT saved.") from error
    if config.peft_type != "LORA":
        raise AdapterInvalid(f"{CONFIG}: it is a {config.peft_type} adapter; only LORA can be continued.")
    for name, plain in PLAIN.items():
        if (value := (config.model_extra or {}).get(name, plain[0])) not in plain:
            raise AdapterInvalid(
                f"{CONFIG}: {name} is {value!r}, which cannot be continued here.{MERGE_FIRST}"
            )
    return config


def check_weights(file: IO[bytes], size: int, config: AdapterConfig) -> None:
    """Raises ``AdapterInvalid`` unless the safetensors file holds an A and a B of rank r for every layer.

    Only the header is read: names, types and shapes of the tensors.
    """
    parts: dict[str, dict[str, list[int]]] = {}
    begin = 0
    for name, tensor in sorted(_header(file, size).items(), key=lambda pair: pair[1].data_offsets):
        found = TENSOR.fullmatch(name)
        if found is None:
            raise AdapterInvalid(f"{WEIGHTS}: {name!r} is no LoRA weight. Upload what PEFT saved.")
        begin = _checked_end(name, tensor, begin)
        parts.setdefault(found["layer"], {})[found["part"]] = tensor.shape
    for layer, shapes in parts.items():
        a, b = shapes.get("A", []), shapes.get("B", [])
        if len(a) != 2 or len(b) != 2 or a[0] != config.r or b[1] != config.r:
            raise AdapterInvalid(
                f"{WEIGHTS}: {layer} has A {a} and B {b}; with r {config.r} they are "
                f"[{config.r}, inputs] and [outputs, {config.r}]. Upload config and weights of one adapter."
            )
    if not parts:
        raise AdapterInvalid(f"{WEIGHTS}: it holds no weights. Upload what PEFT saved.")


def _header(file: IO[bytes], size: int) -> dict[str, Tensor]:
    """The tensors by name; their places are checked against the file's size."""
    damaged = AdapterInvalid(f"{WEIGHTS}: it is no whole safetensors file. Save and upload it again.")
    begin = file.read(8)
    length = int.from_bytes(begin, "little")
    if len(begin) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
        raise damaged
    try:
        header = HEADER.validate_json(file.read(length))
    except ValidationError as error:
        raise damaged from error
    tensors = {name: tensor for name, tensor in header.items() if isinstance(tensor, Tensor)}
    if 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0) != size:
        raise damaged
    return tensors


def _checked_end(name: str, tensor: Tensor, begin: int) -> int:
    """Where the tensor ends in the data. Raises ``AdapterInvalid`` if it is not what its header says."""
    each, (start, end) = BYTES.get(tensor.dtype), tensor.data_offsets
    if each is None:
        raise AdapterInvalid(f"{WEIGHTS}: {name} has the type {tensor.dtype}; use F32, F16 or BF16.")
    if start != begin or end - start != each * prod(tensor.shape):
        raise AdapterInvalid(f"{WEIGHTS}: {name} does not fill its place. Save and upload it again.")
    return end
