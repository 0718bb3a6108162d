"""The runner for supported families: the engine's decoder over one flat sequence of tokens.

Rows and parts of prompts go through the linear layers together; only attention treats each on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from workers.engine.fast.architecture import Block, describe
from workers.engine.fast.decoder import Decoder, attend_masked, sees
from workers.serve.adapters import Adapter, Shapes
from workers.serve.runners import Chunk, Prefix
from workers.serve.runners.cache import RowCache
from workers.serve.runners.lora import AdaptedLayer, Mixer


class FastRunner:
    """Runs Llama, Qwen and Gemma models, any adapters in one batch."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._device = model.device
        self._mixer = Mixer(model.device)
        self.shapes: Shapes = {}
        architecture = describe(model)
        blocks = self._adapt_blocks(model, architecture.blocks)
        self._decoder = Decoder(replace(architecture, blocks=blocks))
        self._cache = RowCache(blocks)
        self._adapters: list[Adapter | None] = []

    def _adapt_blocks(self, model: PreTrainedModel, blocks: Sequence[Block]) -> list[Block]:
        names = {id(module): name for name, module in model.named_modules()}
        backbone: Any = model.base_model
        shapes: dict[str, tuple[int, int]] = {}
        adapted = []
        for block, layer in zip(blocks, backbone.layers, strict=False):
            attention, mlp = layer.self_attn, layer.mlp
            parts = {
                "qkv": [attention.q_proj, attention.k_proj, attention.v_proj],
                "output": [attention.o_proj],
                "gate_up": [mlp.gate_proj, mlp.up_proj],
                "down": [mlp.down_proj],
            }
            layers: dict[str, Any] = {}
            for field, modules in parts.items():
                own = [names[id(module)] for module in modules]
                outputs = [module.out_features for module in modules]
                layers[field] = AdaptedLayer(getattr(block, field), own, outputs, self._mixer)
                shapes |= {
                    name: (modules[0].in_features, out) for name, out in zip(own, outputs, strict=True)
                }
            adapted.append(replace(block, **layers))
        self.shapes = shapes
        return adapted

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], chunks: Sequence[Chunk]) -> torch.Tensor:
        """Add tokens to rows and chunks to prefixes; return logits (rows + last chunks, vocabulary)."""
        ids, positions, ends = [*tokens], [*self._cache.lengths], [*range(len(tokens))]
        for chunk in chunks:
            ids += chunk.ids
            positions += range(chunk.prefix.length, chunk.prefix.length + len(chunk.ids))
            ends += [len(ids) - 1] if chunk.last else []
        owners = [(adapter, 1) for adapter in self._adapters]
        self._mixer.arrange(owners + [(chunk.prefix.adapter, len(chunk.ids)) for chunk in chunks])
        if tokens:
            self._cache.begin_step(self._device)
        flat, places = (torch.tensor([each], device=self._device) for each in (ids, positions))
        attention = _Attention(self._decoder, self._cache, len(tokens), chunks)
        hidden = self._decoder.run_layers(flat, places, attention)
        if tokens:
            self._cache.end_step()
        for chunk in chunks:
            chunk.prefix.length += len(chunk.ids)
        return self._decoder.logits(self._decoder.model.norm(hidden[0, ends]))

    @torch.inference_mode()
    def join(self, prefix: Prefix, count: int) -> None:
        """Append rows that continue a prompt."""
        self._cache.append(prefix.state, prefix.length, count)
        self._adapters += [prefix.adapter] * count

    @torch.inference_mode()
    def keep(self, order: Sequence[int]) -> None:
        """Keep rows in this order."""
        self._cache.keep(order)
        self._adapters = [self._adapters[old] for old in order]

    def reset(self) -> None:
        """Drop all rows."""
        self.keep([])


class _Attention:
    """Attention of one step: the rows' tokens come first, then the chunks."""

    def __init__(self, decoder: Decoder, cache: RowCache, rows: int, chunks: Sequence[Chunk]) -> None:
        self._blocks, self._cache, self._rows, self._chunks = decoder.model.blocks, cache, rows, chunks

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend over (1, heads, tokens, width)."""
        attended: list[torch.Tensor] = []
        if self._rows:
            own = (each[0, :, : self._rows].transpose(0, 1) for each in (q, k, v))
            attended.append(self._cache.attend(layer, *own).transpose(0, 1)[None])
        begin = self._rows
        for chunk in self._chunks:
            end = begin + len(chunk.ids)
            attended.append(self._attend_chunk(layer, chunk, *(each[:, :, begin:end] for each in (q, k, v))))
            begin = end
        return attended[0] if len(attended) == 1 else torch.cat(attended, dim=2)

    def _attend_chunk(
        self, layer: int, chunk: Chunk, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        """Attend to what has been read of the prompt, and add the chunk to it."""
        prefix, block = chunk.prefix, self._blocks[layer]
        if prefix.state is None:
            prefix.state = []
        if len(prefix.state) == layer:
            prefix.state.append((k, v))
        else:
            before = prefix.state[layer]
            k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
            prefix.state[layer] = (k, v)
        mask = None
        if prefix.length or (block.window is not None and k.size(2) > block.window):
            positions = torch.arange(k.size(2), device=q.device)
            mask = sees(positions[prefix.length :, None], positions[None], block.window)
        return attend_masked(q, k, v, mask, block.scale, causal=mask is None)
