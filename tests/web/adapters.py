"""PEFT adapters as people upload them, made without PEFT."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

CONFIG = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["v_proj", "q_proj"],
    "bias": "none",
}


LAYER = "model.layers.0.self_attn.q_proj"


def weights(
    rank: int = 4, kind: str = "F32", names: tuple[str, ...] = ("lora_A", "lora_B"), layer: str = LAYER
) -> bytes:
    """A safetensors file with one layer, all zeros."""
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        shape = [rank, 8] if name == "lora_A" else [16, rank]
        begin, end = end, end + 4 * shape[0] * shape[1]
        header[f"base_model.model.{layer}.{name}.weight"] = {
            "dtype": kind,
            "shape": shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def packed(files: dict[str, bytes], folder: str = "adapter/") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in files.items():
            written.writestr(folder + name, content)
    return archive.getvalue()


def good(layer: str = LAYER, **config: Any) -> bytes:
    """A whole archive with weights of ``layer``, its config changed by ``config``."""
    content = json.dumps(CONFIG | config).encode()
    return packed({"adapter_config.json": content, "adapter_model.safetensors": weights(layer=layer)})
