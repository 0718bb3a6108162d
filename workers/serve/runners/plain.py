"""The runner for every other model: transformers' own forward, one padded batch for each adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workers.serve.adapters import Adapter, Shapes
from workers.serve.runners import Chunk, Prefix

MOST_INJECTED = 8  # adapters that remain in the model after their last row
CONFIG_FIELDS = {
    "r", "lora_alpha", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "fan_in_fan_out", "use_rslora",
}  # fmt: skip


@dataclass
class Cohort:
    """Rows with the same adapter in one cache; prompts are padded on the left. ``mask`` is (rows, width)."""

    adapter: Adapter | None
    cache: Any
    mask: torch.Tensor
    rows: list[int] = field(default_factory=list)


class PlainRunner:
    """Runs any causal language model whose cache holds keys and values."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.shapes: Shapes = dict(_list_shapes(model))
        self._model: Any = model
        self._device = model.device
        self._injected: dict[Adapter, str] = {}  # its name in PEFT; the last used one is last
        self._number = 0
        self._cohorts: dict[Adapter | None, Cohort] = {}
        self._rows = 0

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], chunks: Sequence[Chunk]) -> torch.Tensor:
        """Add tokens to rows and chunks to prefixes; return logits (rows + last chunks, vocabulary)."""
        found: dict[int, torch.Tensor] = {}
        for cohort in self._cohorts.values():
            logits = self._step_cohort(cohort, [tokens[row] for row in cohort.rows])
            found |= dict(zip(cohort.rows, logits, strict=True))
        read = [self._read_chunk(chunk) for chunk in chunks]
        wanted = [found[row] for row in range(self._rows)]
        wanted += [own for chunk, own in zip(chunks, read, strict=True) if chunk.last]
        return torch.stack(wanted) if wanted else torch.empty(0)

    def _step_cohort(self, cohort: Cohort, tokens: list[int]) -> torch.Tensor:
        positions = cohort.mask.sum(1, keepdim=True)
        cohort.mask = torch.cat([cohort.mask, cohort.mask.new_ones(len(tokens), 1)], dim=1)
        ids = torch.tensor(tokens, device=self._device)[:, None]
        return self._forward(cohort.adapter, cohort.cache, ids, cohort.mask, positions)

    def _read_chunk(self, chunk: Chunk) -> torch.Tensor:
        prefix = chunk.prefix
        if prefix.state is None:
            prefix.state = DynamicCache()
        end = prefix.length + len(chunk.ids)
        positions = torch.arange(prefix.length, end, device=self._device)[None]
        ids, mask = torch.tensor([chunk.ids], device=self._device), positions.new_ones(1, end)
        prefix.length = end
        return self._forward(prefix.adapter, prefix.state, ids, mask, positions)[0]

    def _forward(
        self,
        adapter: Adapter | None,
        cache: Any,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
    ) -> torch.Tensor:
        with self._use(adapter):
            output = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    @torch.inference_mode()
    def join(self, prefix: Prefix, count: int) -> None:
        """Append rows that continue a prompt."""
        rows = [*range(self._rows, self._rows + count)]
        self._rows += count
        mask = torch.ones(count, prefix.length, dtype=torch.long, device=self._device)
        cohort = self._cohorts.setdefault(prefix.adapter, Cohort(prefix.adapter, DynamicCache(), mask[:0]))
        width = max(cohort.mask.size(1), prefix.length)
        cohort.cache = _concatenate(cohort.cache if cohort.rows else None, prefix.state, count, width)
        cohort.mask = torch.cat([_pad_left(each, width, 1) for each in (cohort.mask, mask)])
        cohort.rows += rows

    @torch.inference_mode()
    def keep(self, order: Sequence[int]) -> None:
        """Keep rows in this order."""
        number = {old: new for new, old in enumerate(order)}
        for cohort in [*self._cohorts.values()]:
            kept = [index for index, row in enumerate(cohort.rows) if row in number]
            if not kept:
                del self._cohorts[cohort.adapter]
            elif len(kept) < len(cohort.rows):
                _select_rows(cohort, torch.tensor(kept, device=self._device))
            cohort.rows = [number[cohort.rows[index]] for index in kept]
        self._rows = len(order)

    def reset(self) -> None:
        """Drop all rows."""
        self._cohorts, self._rows = {}, 0

    # --- adapters ----------------------------------------------------------------------------------

    @contextmanager
    def _use(self, adapter: Adapter | None) -> Iterator[None]:
        """Inside, the model has this adapter, or none."""
        if adapter is None:
            if isinstance(self._model, PeftModel):
                with self._model.disable_adapter():
                    yield
            else:
                yield
            return
        name = self._inject(adapter)  # may wrap the model
        self._model.set_adapter(name)
        yield

    def _inject(self, adapter: Adapter) -> str:
        """Add the adapter's layers to the model unless they are there; return their name."""
        name = self._injected.pop(adapter, "")
        if not name:
            name = f"adapter-{self._number}"
            self._number += 1
            self._add(adapter, name)
        self._injected[adapter] = name
        for unused in [each for each in [*self._injected][:-MOST_INJECTED] if each not in self._cohorts]:
            self._model.delete_adapter(self._injected.pop(unused))
        return name

    def _add(self, adapter: Adapter, name: str) -> None:
        if isinstance(self._model, PeftModel):
            self._model.add_adapter(name, _build_config(adapter))
        else:
            self._model = PeftModel(self._model, _build_config(adapter), adapter_name=name)
        state = {
            f"base_model.model.{layer}.lora_{part}.weight": tensor
            for layer, pair in adapter.weights.items()
            for part, tensor in zip("AB", pair, strict=True)
        }
        set_peft_model_state_dict(self._model, state, adapter_name=name)
        self._model.eval()


def _build_config(adapter: Adapter) -> Any:
    options = adapter.config.model_dump(include=CONFIG_FIELDS, exclude_none=True)
    return LoraConfig(**options, task_type="CAUSAL_LM", inference_mode=True)


def _list_shapes(model: PreTrainedModel) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            yield name, (module.in_features, module.out_features)
        elif isinstance(module, Conv1D):
            yield name, (module.weight.shape[0], module.weight.shape[1])


def _pad_left(states: torch.Tensor, width: int, dim: int) -> torch.Tensor:
    """Pad a dimension with zeros on the left."""
    missing = width - states.size(dim)
    return pad(states, (0, 0) * (states.dim() - 1 - dim) + (missing, 0)) if missing else states


def _concatenate(cache: Any, prefix: Any, count: int, width: int) -> Any:
    """Return a cache with the rows of ``cache`` and ``count`` rows of a prefix, padded to ``width``."""
    joined = DynamicCache()
    for layer, added in enumerate(prefix.layers):
        if not added.is_initialized:  # a layer that shares another layer's keys
            continue
        pair = []
        for own in ("keys", "values"):
            states = _pad_left(getattr(added, own), width, 2).expand(count, -1, -1, -1)
            if cache is not None:
                states = torch.cat([_pad_left(getattr(cache.layers[layer], own), width, 2), states])
            pair.append(states)
        joined.update(*pair, layer)
    return joined


def _select_rows(cohort: Cohort, indices: torch.Tensor) -> None:
    """Keep rows of a cohort, and drop columns that are padding in all of them."""
    cohort.cache.batch_select_indices(indices)
    cohort.mask = cohort.mask[indices]
    padding = int((cohort.mask.cumsum(1) == 0).sum(1).min())
    if padding:
        cohort.mask = cohort.mask[:, padding:]
        for layer in cohort.cache.layers:
            if layer.is_initialized:
                layer.keys, layer.values = layer.keys[:, :, padding:], layer.values[:, :, padding:]
