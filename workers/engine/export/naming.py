"""Names and row order of tensors in llama.cpp."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray

from workers.contract.base_models.gguf import ARCHITECTURES

Array = NDArray[np.float32]


class Names:
    """Translates tensor names of transformers to those of GGUF, for one model."""

    def __init__(self, config: Any) -> None:
        self.arch = ARCHITECTURES[config.architectures[0]]
        self.heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
        number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == self.arch)
        self.map = gguf.get_tensor_name_map(number, config.num_hidden_layers)

    def translate(self, name: str) -> str:
        """Return the GGUF name of a weight or bias. Raises ValueError if the architecture has none."""
        found = self.map.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ValueError(f"GGUF has no name for the tensor {name} of {self.arch}.")
        return found

    def order_rows(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Return rows in GGUF's order.

        llama.cpp's Llama rotates neighbouring rows of query and key, while transformers rotates the two
        halves of a head. These rows are therefore interleaved (as in its converter's ``permute``).
        """
        heads = self.heads.get(name.split(".")[2]) if name.startswith("blk.") else None
        if self.arch != "llama" or heads is None:
            return rows
        return rows.reshape(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)

    def restore_rows(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """The inverse of ``order_rows``."""
        heads = self.heads.get(name.split(".")[2]) if name.startswith("blk.") else None
        if self.arch != "llama" or heads is None:
            return rows
        return rows.reshape(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return the tensor as numpy in float32, which represents every float16 and bfloat16."""
    values: Array = tensor.detach().float().contiguous().numpy()
    return values


def write_file(writer: gguf.GGUFWriter) -> None:
    """Write header, keys and tensors, in that order, and close the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
