"""Files of a PEFT adapter, read without torch and without running any of their content."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable
from math import prod
from typing import IO, Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from workers.contract.json_types import JsonObject, JsonValue

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MAX_CONFIG_BYTES: Final = 1_000_000
MAX_HEADER_BYTES: Final = 10_000_000
MAX_TENSORS: Final = 50_000
MAX_TARGETS: Final = 10_000
MAX_PATTERN: Final = 4_000
LONGEST_NAME: Final = 300
MODULE: Final = re.compile(r"[\w.-]+", re.ASCII)
REPEATED_REPEAT: Final = re.compile(r"\([^()]*[*+}][^()]*\)[*+{]")
"""A repeated group that repeats something itself: such a pattern may never end on a name."""

HEADS: Final = frozenset({"lm_head", "embed_out"})
"""Names of the layer that computes the logits. Training reads its weights without an adapter."""

ALL_LINEAR: Final = "all-linear"
LAYER_INDEX: Final = re.compile(r".*?\.[^.]*\.(\d+)\.")
BYTES: Final = {"F32": 4, "F16": 2, "BF16": 2}
TENSOR: Final = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<part>[AB])\.weight")


class AdapterInvalid(ValueError):
    """Files from which training cannot continue; the message has the reason and the remedy."""


class AdapterConfig(BaseModel):
    """The fields of ``adapter_config.json`` that determine what is trained, under PEFT's names."""

    model_config = ConfigDict(extra="allow")
    peft_type: str
    r: int = Field(ge=1, le=256)
    lora_alpha: int = Field(ge=1, le=1024)
    target_modules: list[str] | str = Field(min_length=1)
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[NonNegativeInt] | NonNegativeInt | None = None
    layers_pattern: list[str] | str | None = None
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    lora_dropout: float = Field(default=0.0, ge=0, le=1)
    base_model_name_or_path: str | None = None

    @field_validator("r", "lora_alpha", "fan_in_fan_out", "use_rslora", "lora_dropout", mode="before")
    @classmethod
    def _no_text(cls, value: Any) -> Any:
        """Refuse text: PEFT reads the same file and does not convert it to a number."""
        if isinstance(value, str):
            raise ValueError("a number or a truth value is expected, not text")
        return value

    @field_validator("layers_pattern")
    @classmethod
    def _no_pattern(cls, value: list[str] | str | None) -> list[str] | str | None:
        if isinstance(value, str) and not MODULE.fullmatch(value):
            raise ValueError(f"{value[:40]!r} is not a module's name")
        return value

    @field_validator("target_modules", "exclude_modules", "layers_pattern")
    @classmethod
    def _names(cls, value: list[str] | str | None) -> list[str] | str | None:
        if isinstance(value, str):
            _check_pattern(value)
        elif value is not None:
            if len(value) > MAX_TARGETS:
                raise ValueError(f"it lists {len(value):,} names, more than {MAX_TARGETS:,}")
            if odd := [each for each in value if len(each) > LONGEST_NAME or not MODULE.fullmatch(each)]:
                raise ValueError(f"{odd[0][:40]!r} is not a module's name")
        return value

    @model_validator(mode="after")
    def _layers_of_named_modules(self) -> Self:
        """Refuse combinations that PEFT refuses."""
        if self.layers_pattern and self.layers_to_transform is None:
            raise ValueError("layers_pattern needs layers_to_transform")
        if isinstance(self.target_modules, str):
            for name in ("layers_to_transform", "layers_pattern"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs a list of names as target_modules")
        return self

    def adapts(self, layer: str) -> bool:
        """Return True if PEFT adapts a layer of this name (its ``check_target_module_exists``)."""
        if self.exclude_modules and _matches(self.exclude_modules, layer):
            return False
        if isinstance(self.target_modules, str):
            if self.target_modules.lower() == ALL_LINEAR:
                return layer.rpartition(".")[2] not in HEADS
            return _matches(self.target_modules, layer)
        if layer in self.target_modules:
            return True
        return _matches(self.target_modules, layer) and self._has_chosen_index(layer)

    def _has_chosen_index(self, layer: str) -> bool:
        """Return True if ``layers_to_transform`` has the layer's index, or restricts nothing."""
        if self.layers_to_transform is None or self.layers_to_transform == []:
            return True
        parents = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        patterns = [re.compile(rf"(?:^|.*?\.){parent}\.(\d+)\.") for parent in parents or []]
        found = next(filter(None, (each.match(layer) for each in patterns or [LAYER_INDEX])), None)
        chosen = self.layers_to_transform
        return found is not None and int(found[1]) in (chosen if isinstance(chosen, list) else [chosen])

    @property
    def targets(self) -> str:
        """The target modules as one pattern over module names, as in ``LoraSettings.targets``."""
        if isinstance(self.target_modules, str):
            return self.target_modules
        return rf"(.*\.)?({'|'.join(re.escape(name) for name in sorted(self.target_modules))})"


def _matches(names: list[str] | str, layer: str) -> bool:
    """Return True if the pattern matches the layer, or one of the names is its end."""
    if isinstance(names, str):
        return re.fullmatch(names, layer) is not None
    return any(layer == name or layer.endswith(f".{name}") for name in names)


def _check_pattern(pattern: str) -> None:
    """Raise ValueError unless it is a regular expression that ends quickly on any layer's name."""
    if len(pattern) > MAX_PATTERN or not pattern.isprintable():
        raise ValueError(f"a pattern has at most {MAX_PATTERN:,} printable characters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not a regular expression: {error}") from error
    if REPEATED_REPEAT.search(pattern):
        raise ValueError("a group that is repeated must not repeat something itself")


Size = Annotated[int, Field(ge=0, lt=2**48)]


class Tensor(BaseModel):
    """A tensor in a safetensors header; offsets are bytes after the header."""

    dtype: str
    shape: list[Size] = Field(max_length=8)
    data_offsets: tuple[Size, Size]


HEADER: Final = TypeAdapter(dict[str, Tensor | dict[str, str]])
MERGE_FIRST: Final = "Merge it into its base (PEFT's merge_and_unload) and add the result as a base model."
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
    "alora_invocation_tokens": (None, []),
    "use_qalora": (False,),
    "use_bdlora": (None,),
    "velora_config": (None,),
    "monteclora_config": (None,),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "megatron_config": (None,),
}
"""Values of settings with which an adapter has one A and one B per layer and nothing else."""


def read_config(content: bytes) -> AdapterConfig:
    """Parse the config. Raises ``AdapterInvalid`` unless it is that of a plain LoRA adapter."""
    try:
        config = AdapterConfig.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        raise AdapterInvalid(f"{CONFIG}: {field}: {reason}. Upload what PEFT saved.") from error
    if config.peft_type != "LORA":
        raise AdapterInvalid(f"{CONFIG}: it is a {config.peft_type} adapter; only LORA can be continued.")
    for name, plain in PLAIN.items():
        if (value := (config.model_extra or {}).get(name, plain[0])) not in plain:
            raise AdapterInvalid(
                f"{CONFIG}: {name} is {reprlib.repr(value)}, which cannot be continued here. {MERGE_FIRST}"
            )
    return config


def check_weights(file: IO[bytes], size: int, config: AdapterConfig) -> None:
    """Raise ``AdapterInvalid`` unless the safetensors file has an A and a B of rank r for every layer.

    The layers must be among the config's targets, and none may be the head. Only the header is read: names,
    types and shapes of the tensors.
    """
    parts: dict[str, dict[str, list[int]]] = {}
    begin = 0
    for name, tensor in sorted(_read_header(file, size).items(), key=lambda pair: pair[1].data_offsets):
        found = TENSOR.fullmatch(name)
        if found is None:
            raise AdapterInvalid(f"{WEIGHTS}: {name!r} is not a LoRA weight. Upload what PEFT saved.")
        begin = _check_extent(name, tensor, begin)
        parts.setdefault(found["layer"], {})[found["part"]] = tensor.shape
    for layer, shapes in parts.items():
        a, b = shapes.get("A", []), shapes.get("B", [])
        if len(a) != 2 or len(b) != 2 or a[0] != config.r or b[1] != config.r:
            raise AdapterInvalid(
                f"{WEIGHTS}: {layer} has A {a} and B {b}; with r {config.r} they are "
                f"[{config.r}, inputs] and [outputs, {config.r}]. Upload config and weights of one adapter."
            )
        if not config.adapts(layer):
            raise AdapterInvalid(
                f"{WEIGHTS}: {layer} is no target of {CONFIG}. Upload config and weights of one adapter."
            )
    if not parts:
        raise AdapterInvalid(f"{WEIGHTS}: it holds no weights. Upload what PEFT saved.")
    _refuse_head(config, parts)


def _refuse_head(config: AdapterConfig, layers: Iterable[str]) -> None:
    """Raise ``AdapterInvalid`` if the head has weights or is a target: PEFT adds it to the model then."""
    heads = [layer for layer in layers if layer.rpartition(".")[2] in HEADS]
    if heads or config.adapts("lm_head"):
        file, head = (WEIGHTS, heads[0]) if heads else (CONFIG, "lm_head")
        raise AdapterInvalid(
            f"{file}: the adapter changes {head}, the model's head, which cannot be continued here: the "
            f"loss reads the head's own weights. Train it again without {head} in target_modules. Or merge "
            "it into its base (PEFT's merge_and_unload; with tied embeddings, untie them first) and add the "
            "result as a base model."
        )


def _read_header(file: IO[bytes], size: int) -> dict[str, Tensor]:
    """Return the tensors by name, after checking their offsets against the file's size."""
    damaged = AdapterInvalid(f"{WEIGHTS}: it is not a complete safetensors file. Save and upload it again.")
    begin = file.read(8)
    length = int.from_bytes(begin, "little")
    if len(begin) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
        raise damaged
    try:
        content = json.loads(file.read(length), object_pairs_hook=_build_unique)
        if len(content) > MAX_TENSORS:
            raise AdapterInvalid(
                f"{WEIGHTS}: it has {len(content):,} tensors; an adapter has {MAX_TENSORS:,} at most."
            )
        header = HEADER.validate_python(content)
    except AdapterInvalid:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged from error
    tensors = {name: tensor for name, tensor in header.items() if isinstance(tensor, Tensor)}
    if 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0) != size:
        raise damaged
    return tensors


def _build_unique(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    """Return a JSON object. Raises ValueError for a duplicate name, which readers treat differently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("an object has a name twice")
    return content


def _check_extent(name: str, tensor: Tensor, begin: int) -> int:
    """Return where the tensor ends in the data. Raises ``AdapterInvalid`` if type or size are wrong."""
    each, (start, end) = BYTES.get(tensor.dtype), tensor.data_offsets
    if each is None:
        raise AdapterInvalid(f"{WEIGHTS}: {name} has the type {tensor.dtype}; use F32, F16 or BF16.")
    if start != begin or end - start != each * prod(tensor.shape):
        raise AdapterInvalid(f"{WEIGHTS}: {name} does not fill its range. Save and upload it again.")
    return end
