"""Tensors as llama.cpp names and orders them."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray

from workers.contract.base_models.gguf import ARCHITECTURES

Array = NDArray[np.float32]


class Names:
    """From names of transformers to names of GGUF for one model."""

    def __init__(self, config: Any) -> None:
        self.arch = ARCHITECTURES[config.architectures[0]]
        self.heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == self.arch)
        self.map = gguf.get_tensor_name_map(number, config.num_hidden_layers)

    def of(self, name: str) -> str:
        """The GGUF name of a weight or bias. Raises ValueError for one that the architecture lacks."""
        found = self.map.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ValueError(f"GGUF has no name for the tensor {name} of {self.arch}.")
        return found

    def ordered(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Rows in GGUF's order.

        llama.cpp's Llama rotates neighbouring rows of query and key where transformers rotates the two
        halves of a head, so these rows are interleaved (as its converter's ``permute`` does).
        """
        heads = self.heads.get(name.split(".")[2]) if name.startswith("blk.") else None
        if self.arch != "llama" or heads is None:
            return rows
        return rows.reshape(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)

    def restored(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """The inverse of ``ordered``."""
        heads = self.heads.get(name.split(".")[2]) if name.startswith("blk.") else None
        if self.arch != "llama" or heads is None:
            return rows
        return rows.reshape(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def array(tensor: torch.Tensor) -> Array:
    """As numpy in float32, which holds every float16 and bfloat16."""
    values: Array = tensor.detach().float().contiguous().numpy()
    return values


def finish(writer: gguf.GGUFWriter) -> None:
    """Writes header, keys and tensors, in that order, and closes the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
