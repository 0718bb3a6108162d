"""The adapter alone as a GGUF file, to load over a GGUF of its base."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors.torch import load_file

from workers.contract.adapter import CONFIG, MERGE_FIRST, TENSOR, WEIGHTS, AdapterInvalid, read_config
from workers.contract.exports import GGUF
from workers.engine.errors import EngineError
from workers.engine.export import gguf_model
from workers.engine.export.checking import Verification, check_logprobs, check_tensors, export_differs
from workers.engine.export.naming import Names, to_numpy, write_file
from workers.engine.export.source import CheckStop, Source
from workers.engine.export.texts import write_modelfile

FILE = "adapter.gguf"
PARTS = {"A": "lora_a", "B": "lora_b"}
LINEAR = re.compile(r"model\.layers\.\d+\.(self_attn|mlp)\.\w+")


def export(source: Source, folder: Path, check_stop: CheckStop) -> Verification:
    """Write ``adapter.gguf`` with a Modelfile, and the base if possible; check the adapter."""
    write_modelfile(source, _modelfile_head(source), folder)
    write(source, folder)
    check_stop()
    config, tokenizer = source.base_files
    if tokenizer is not None and not GGUF.find_refusal(config, tokenizer):
        gguf_model.write_base(source, tokenizer, folder)
        check_stop()
    return check(source, folder)


def _modelfile_head(source: Source) -> str:
    base = source.model.peft_config["default"].base_model_name_or_path
    return (
        f"# FROM: a GGUF of {base}, in the version that was tuned\nFROM ./{gguf_model.BASE_FILE}\n"
        f"ADAPTER ./{FILE}\n"
    )


def write(source: Source, folder: Path) -> None:
    """Write A and B of each layer in float32, and the alpha that gives peft's scaling."""
    names = Names(source.model.config)
    writer = gguf.GGUFWriter(folder / FILE, names.arch)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(source.settings.get("model_name") or folder.name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, _alpha(source))
    for name, tensor in load_file(source.package / WEIGHTS).items():
        layer, part = _parse_name(name)
        to = names.translate(f"{layer}.weight")
        ordered = names.order_rows(to, tensor) if part == "B" else tensor
        writer.add_tensor(f"{to}.{PARTS[part]}", to_numpy(ordered))
    write_file(writer)


def _alpha(source: Source) -> float:
    """Return alpha for llama.cpp, which scales by alpha / rank and has no rank-stabilised LoRA."""
    try:
        config = read_config((source.package / CONFIG).read_bytes())
    except AdapterInvalid as error:
        reason = str(error).removesuffix(MERGE_FIRST).replace("be continued here", "be written as GGUF")
        raise EngineError("export_refused", reason, "Export merged safetensors instead.") from error
    stabilised = (config.model_extra or {}).get("use_rslora")
    return config.lora_alpha * (config.r**0.5 if stabilised else 1.0)


def _parse_name(name: str) -> tuple[str, str]:
    """Return layer and part (A or B) of a tensor of the package."""
    found = TENSOR.fullmatch(name)
    if found is None or not LINEAR.fullmatch(found["layer"]):
        raise EngineError(
            "export_refused",
            f"The adapter changes {name}, which a GGUF adapter cannot hold.",
            "Export merged safetensors or merged GGUF instead.",
        )
    return found["layer"], found["part"]


def check(source: Source, folder: Path) -> Verification:
    """Read the file again, compare A and B with peft's, and check the base plus the file's B·A.

    This changes ``source.model``: its adapter is removed, and that of the file is added into the base.
    """
    reader = gguf.GGUFReader(folder / FILE)
    names = Names(source.model.config)
    read = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    found, expected = {}, load_file(source.package / WEIGHTS)
    for name in expected:
        layer, part = _parse_name(name)
        to = names.translate(f"{layer}.weight")
        if (tensor := read.pop(f"{to}.{PARTS[part]}", None)) is None:
            raise export_differs(f"{to}.{PARTS[part]} is missing")
        found[name] = names.restore_rows(to, tensor) if part == "B" else tensor
    if read:
        raise export_differs(f"it holds {sorted(read)[:5]} besides")
    tensors = check_tensors(found, expected)
    field = reader.get_field(gguf.Keys.Adapter.LORA_ALPHA)
    assert field is not None
    applied = _apply_adapter(source.model.unload(), found, float(field.contents()))
    return check_logprobs(applied, source, "read back with gguf and added to the base", tensors)


@torch.no_grad()
def _apply_adapter(base: Any, tensors: dict[str, torch.Tensor], alpha: float) -> Any:
    for name, a in tensors.items():
        layer, part = _parse_name(name)
        if part == "A":
            b = tensors[name.replace(".lora_A.", ".lora_B.")].float()
            weight = base.get_submodule(layer).weight
            weight.copy_(weight.float() + alpha / len(a) * (b @ a.float()))
    return base
