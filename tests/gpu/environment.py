"""Item 0: what is installed, and the GPUs as a node announces them against what torch sees."""

from __future__ import annotations

import json
import platform
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("torch", "transformers", "accelerate", "peft", "trl", "datasets", "tokenizers", "safetensors")
OURS = ("workers.engine.run", "workers.grading", "workers.bridge.gpus")


def check_imports(folder: Path, small: bool) -> None:
    """Import everything that later items need; what is missing is named and ends this item."""
    seconds, missing = {}, []
    for name in (*PACKAGES, *OURS):
        began = time.perf_counter()
        try:
            import_module(name)
        except Exception as error:
            missing.append(f"{name} cannot be imported: {type(error).__name__}: {error}")
        seconds[name] = round(time.perf_counter() - began, 1)
    versions = {name: version(name) for name in PACKAGES if not any(name in line for line in missing)}
    lines: list[dict[str, object]] = [{"failed": line} for line in missing]
    lines.append({"measured": {"python": platform.python_version(), **versions, "import_seconds": seconds}})
    with (folder / "report.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    if not missing:
        check_gpus(folder, small)


def check_gpus(folder: Path, small: bool) -> None:
    """NVML and torch must agree on names and memory; in the small form both must find no GPU at all."""
    import torch

    from tests.gpu.report import GIB, Context
    from workers.bridge.gpus import find_gpus, read_load

    context, found, seen = Context(folder, small), find_gpus(), torch.cuda.device_count()
    context.measure(gpus=found, load=read_load(), cuda=torch.version.cuda)
    if small:
        context.measure(free_gib=_free_memory())
        return
    context.require("NVML and torch see the same number of GPUs, at least one.", len(found) == seen > 0)
    for gpu, index in zip(found, range(seen), strict=False):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        context.measure(**{f"free_gib_{index}": free / GIB, f"bf16_{index}": torch.cuda.is_bf16_supported()})
        context.require(f"GPU {index} has one name.", gpu["name"] == properties.name)
        near = abs(gpu["memory_gib"] - total / GIB) <= 0.03 * gpu["memory_gib"]
        context.require(f"NVML and torch report the same memory of GPU {index}, within 3 %.", near)


def _free_memory() -> float:
    """GiB of memory that this machine could still give."""
    import psutil

    return float(psutil.virtual_memory().available / 2**30)
