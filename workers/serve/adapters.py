"""LoRA adapters of the served base: loaded from PEFT folders at run time, the least recently used leave."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from workers.contract import adapter as files
from workers.serve.errors import ApiError, invalid_field

OTHER_BASE = "Load an adapter that was trained on this base."
NOT_A_FOLDER = "it is not the folder of an adapter: it has no {}."
Shapes = Mapping[str, tuple[int, int]]
"""Inputs and outputs of each linear layer of a base, by the layer's name."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A loaded adapter. ``weights`` are A (rank, inputs) and B (outputs, rank) of each layer.

    ``sha256`` is the hash of its weights file.
    """

    name: str
    sha256: str
    config: files.AdapterConfig
    weights: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    loaded: int = field(default_factory=lambda: int(time.time()))

    @property
    def scale(self) -> float:
        """The factor of B A x."""
        rank = self.config.r
        return self.config.lora_alpha / (sqrt(rank) if self.config.use_rslora else rank)


class Adapters:
    """Adapters by the name that callers use, at most ``most`` of them. Safe to use from several threads."""

    def __init__(self, shapes: Shapes, reserved: str, most: int) -> None:
        self._shapes, self._reserved, self._most = shapes, reserved, most
        self._loaded: OrderedDict[str, Adapter] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, name: str, path: Path, in_place: bool = False) -> Adapter:
        """Load an adapter under a name; the least recently used one leaves if there are too many.

        Raises ``ApiError``: 400 for a taken name or unusable files, 404 for a folder without an adapter.
        """
        self._check_name(name, in_place)
        adapter = read_adapter(name, path, self._shapes)
        with self._lock:
            self._loaded[name] = adapter
            self._loaded.move_to_end(name)
            while len(self._loaded) > self._most:
                self._loaded.popitem(last=False)
        return adapter

    def _check_name(self, name: str, in_place: bool) -> None:
        if name == self._reserved:
            raise invalid_field("lora_name", f"{name!r} is the base model's own name.")
        if name in self._loaded and not in_place:
            raise invalid_field(
                "lora_name", f"{name!r} is already loaded. Unload it first, or set load_inplace to true."
            )

    def unload(self, name: str) -> None:
        """Forget an adapter; completions that use it continue. Raises ``ApiError`` if it is not loaded."""
        with self._lock:
            if self._loaded.pop(name, None) is None:
                raise ApiError(404, f"The adapter {name!r} is not loaded.", "lora_name", "model_not_found")

    def find(self, name: str) -> Adapter | None:
        """Return an adapter and mark it as used."""
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
            return self._loaded.get(name)

    def list(self) -> list[Adapter]:
        """Return all adapters, the least recently used first."""
        with self._lock:
            return [*self._loaded.values()]


def read_adapter(name: str, path: Path, shapes: Shapes) -> Adapter:
    """Read config and weights of an adapter that fits layers of these shapes. Raises ``ApiError``."""
    config_bytes, content = (_read_file(path, file) for file in (files.CONFIG, files.WEIGHTS))
    try:
        config = files.read_config(config_bytes)
        files.check_weights(io.BytesIO(content), len(content), config)
        tensors = load_tensors(content)
    except (files.AdapterInvalid, SafetensorError) as error:
        raise invalid_field("lora_path", f"the adapter cannot be served: {error}") from error
    weights = _pair_weights(tensors)
    for layer, (a, b) in weights.items():
        _check_fit(layer, a, b, shapes)
    return Adapter(name, hashlib.sha256(content).hexdigest(), config, weights)


def _read_file(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ApiError(404, f"lora_path: {NOT_A_FOLDER.format(name)}", "lora_path") from error
    except (OSError, ValueError) as error:
        raise invalid_field("lora_path", f"{name} cannot be read: {error}.") from error


def _pair_weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        found = files.TENSOR.fullmatch(name)
        assert found is not None  # checked with the header
        parts.setdefault(found["layer"], {})[found["part"]] = tensor.float()
    return {layer: (part["A"], part["B"]) for layer, part in parts.items()}


def _check_fit(layer: str, a: torch.Tensor, b: torch.Tensor, shapes: Shapes) -> None:
    """Raise ``ApiError`` if the base has no such layer, or if the weights have another shape or NaNs."""
    if layer not in shapes:
        raise invalid_field("lora_path", f"the base has no layer {layer}. {OTHER_BASE}")
    if (inputs_outputs := (a.shape[1], b.shape[0])) != shapes[layer]:
        reason = (
            f"its {layer} has {inputs_outputs[0]} inputs and {inputs_outputs[1]} outputs, the base's has "
            f"{shapes[layer][0]} and {shapes[layer][1]}. {OTHER_BASE}"
        )
        raise invalid_field("lora_path", reason)
    if not (a.isfinite().all() and b.isfinite().all()):
        raise invalid_field("lora_path", f"the weights of {layer} are not all finite.")
