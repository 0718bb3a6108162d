"""Problems of a base model's folder, found from its files alone: the standard library only.

Nothing is loaded, and no content of the files is run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

CONFIG: Final = "config.json"
INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
PICKLED: Final = "pytorch_model*.bin"
CONSOLIDATED: Final = "consolidated"
OTHER_WEIGHTS: Final = (".pth", ".msgpack", ".h5", ".onnx", ".safetensors", ".pt", ".ckpt")
LFS_POINTER: Final = b"version https://git-lfs"
MAX_HEADER_BYTES: Final = 100_000_000
TOKENIZERS: Final = {
    "tokenizer.json": (),
    "tokenizer.model": ("sentencepiece", "google.protobuf"),
    "spiece.model": ("sentencepiece", "google.protobuf"),
    "vocab.json": (),
    "vocab.txt": (),
    "tekken.json": ("mistral_common",),
}
"""A tokenizer's file -> modules that read it; the first existing file is used."""

PACKAGES: Final = {
    "google.protobuf": "protobuf", "mistral_common": "mistral-common", "bitsandbytes": "bitsandbytes",
}  # fmt: skip
QUANTISERS: Final = {
    "bitsandbytes": "bitsandbytes", "gptq": "gptqmodel", "awq": "gptqmodel", "auto-round": "auto-round",
    "compressed-tensors": "compressed-tensors", "hqq": "hqq", "quanto": "optimum-quanto", "aqlm": "aqlm",
    "eetq": "eetq", "torchao": "torchao", "fbgemm_fp8": "fbgemm-gpu", "mxfp4": "kernels", "vptq": "vptq",
}  # fmt: skip
"""``quant_method`` of a config -> the package that reads such weights."""


@dataclass(frozen=True)
class Problem:
    """The reason why a folder is not a base model, with a remedy."""

    code: str
    message: str
    remedy: str


def weight_files(folder: Path, pickled: bool = False) -> list[Path]:
    """Return the files that loading reads: safetensors or, if there are none and ``pickled``, ``.bin`` files.

    Mistral's ``consolidated.safetensors`` has the same weights a second time and is left out.
    """
    found = [path for path in folder.glob("*.safetensors") if not path.name.startswith(CONSOLIDATED)]
    return sorted(found or (folder.glob(PICKLED) if pickled else []))


def find_problem(folder: Path, pickled: bool = False) -> Problem | None:
    """Return the first problem of loading ``folder``; ``pickled`` allows ``.bin`` weights."""
    try:
        return (
            find_missing({path.name for path in folder.iterdir()}, pickled)
            or find_config_problem(folder)
            or _find_weights_problem(folder, pickled)
            or find_tokenizer_problem(folder)
        )
    except (OSError, ValueError) as error:
        return _damaged_file(CONFIG, str(error))


def find_missing(names: Collection[str], pickled: bool = False) -> Problem | None:
    """Return what a model with these files lacks: a config, or weights in a supported format."""
    weights = {name for name in names if is_weights(name)}
    if "adapter_config.json" in names and not any(not name.startswith("adapter") for name in weights):
        return Problem(
            "base_is_adapter",
            "The folder has an adapter (adapter_config.json), not a whole model.",
            "Add the model that the adapter was trained on, then upload the adapter under Models.",
        )
    if weights and all(name.endswith(".gguf") for name in weights):
        return Problem(
            "gguf_only",
            "The folder has the model as GGUF only, a format to run models, which cannot be trained.",
            "Choose the model that the GGUF was made from, with safetensors.",
        )
    if CONFIG not in names:
        return Problem(
            "config_missing",
            f"The folder has no {CONFIG}, so the kind of model is unknown.",
            "Give the folder that save_pretrained wrote, or a model in the transformers format.",
        )
    return _find_missing_weights(names, pickled)


def is_weights(name: str) -> bool:
    """Return True if a file has weights of a whole model or an adapter."""
    return name.endswith((".safetensors", ".gguf")) or fnmatch(name, PICKLED)


def _find_missing_weights(names: Collection[str], pickled: bool) -> Problem | None:
    if any(name.endswith(".safetensors") and not name.startswith(CONSOLIDATED) for name in names):
        return None
    if any(fnmatch(name, PICKLED) for name in names):
        return (
            None
            if pickled
            else Problem(
                "weights_pickled",
                "The weights are in pickled .bin files only, which can run code when they are loaded.",
                "Choose a version with safetensors, or convert it: load it once with transformers and call "
                "save_pretrained. An operator who trusts every base model can set "
                "GROOVE_ALLOW_PICKLED_WEIGHTS=1.",
            )
        )
    others = sorted(name for name in names if name.endswith(OTHER_WEIGHTS))
    suffix = f" {others[0]} has another format." if others else ""
    return Problem(
        "weights_missing",
        f"The folder has no weights in safetensors.{suffix}",
        "Give a folder with model.safetensors, or shards and model.safetensors.index.json.",
    )


def _parse(text: str | bytes) -> Any:
    """Return the JSON value of a text. Raises ValueError, also if it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _read(path: Path) -> Mapping[str, Any]:
    """Read a JSON object. Raises ValueError if the file has something else."""
    content = _parse(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return content


def find_config_problem(folder: Path) -> Problem | None:
    """Return why ``config.json`` cannot be used, or that the weights are quantised."""
    config = folder / CONFIG
    if _is_pointer(config):
        return _pointer_file(CONFIG)
    try:
        return _find_quantisation(_read(config))
    except ValueError as error:
        return _damaged_file(CONFIG, str(error))


def _find_quantisation(config: Mapping[str, Any]) -> Problem | None:
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    method = str(settings.get("quant_method") or "an unnamed method")
    package = QUANTISERS.get(method)
    reader = f" Reading them takes the package {package}." if package else ""
    return Problem(
        "weights_quantised",
        f"The weights are quantised ({method}), and training here needs plain ones.{reader}",
        "Choose the model's unquantised version, in float32, bfloat16 or float16.",
    )


def _find_weights_problem(folder: Path, pickled: bool) -> Problem | None:
    index = folder / INDEX
    if index.is_file() and (problem := _find_index_problem(folder, index)):
        return problem
    found = weight_files(folder, pickled)
    for path in found:
        if _is_pointer(path):
            return _pointer_file(path.name)
        if path.suffix == ".safetensors" and (reason := _find_truncation(path)):
            return _damaged_file(path.name, reason)
    return None


def _find_index_problem(folder: Path, index: Path) -> Problem | None:
    try:
        shards = sorted(set(_read(index)["weight_map"].values()))
        missing = [name for name in shards if not (folder / str(name)).is_file()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return _damaged_file(INDEX, str(error))
    if not missing:
        return None
    return Problem(
        "weights_missing",
        f"{len(missing)} of {len(shards)} weight files that {INDEX} names are missing, "
        f"among them {missing[0]}.",
        "Copy or download the model again completely.",
    )


def find_tokenizer_problem(folder: Path) -> Problem | None:
    """Return why the tokenizer cannot be loaded, such as a missing Python package."""
    found = [name for name in TOKENIZERS if (folder / name).is_file()]
    if not found and not list(folder.glob("*.tiktoken")):
        return Problem(
            "tokenizer_missing",
            "The folder has no tokenizer (tokenizer.json or tokenizer.model).",
            "Copy the tokenizer's files to the folder of the weights.",
        )
    if found and _is_pointer(folder / found[0]):
        return _pointer_file(found[0])
    modules = TOKENIZERS[found[0]] if found else ("tiktoken",)
    missing = [module for module in modules if not _is_installed(module)]
    return (
        package_missing(missing[0], f"The tokenizer ({found[0] if found else 'tiktoken'})")
        if missing
        else None
    )


def package_missing(module: str, whose: str) -> Problem:
    """Return the problem of a missing Python package, by its name on the package index."""
    package = PACKAGES.get(module, module)
    return Problem(
        "package_missing",
        f"{whose} needs the Python package {package}, which this worker does not have.",
        f"Have the operator run `pip install {package}` in the workers' environment and restart them; or "
        "choose a version of the model that does not need it.",
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def _pointer_file(name: str) -> Problem:
    return Problem(
        "file_is_pointer",
        f"{name} is a Git LFS pointer, not the file itself.",
        "Run `git lfs pull` in the folder, or download the model anew.",
    )


def _damaged_file(name: str, reason: str) -> Problem:
    return Problem(
        "file_damaged",
        f"{name} cannot be read: {reason}.".replace("..", "."),
        "It may have been cut off while it was copied. Copy or download the file again.",
    )


def _find_truncation(path: Path) -> str | None:
    """Return why a safetensors file is incomplete, by header and size; None if it is complete."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(8)
        length = int.from_bytes(begin, "little")
        if len(begin) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            return f"it has {size:,} bytes and no complete header"
        try:
            header = _parse(file.read(length))
            ends = [int(each["data_offsets"][1]) for name, each in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
            return "its header is not a safetensors header"
    expected = 8 + length + max(ends, default=0)
    return None if expected == size else f"it has {size:,} bytes, its header expects {expected:,}"
