"""Base and adapter as one GGUF file, for llama.cpp and Ollama."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from workers.contract.base_models.gguf import rope_parameters
from workers.engine.base_model import loading
from workers.engine.export.checking import Verification, check_logprobs, check_tensors, export_differs
from workers.engine.export.merged import merge
from workers.engine.export.naming import Names, to_numpy, write_file
from workers.engine.export.source import CheckStop, Source
from workers.engine.export.texts import write_modelfile
from workers.engine.export.vocabulary import add_vocabulary, list_tokens

FILE = "model.gguf"
BASE_FILE = "base.gguf"
SHAPE = {
    "max_position_embeddings", "num_hidden_layers", "intermediate_size", "hidden_size", "rope_theta",
    "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "vocab_size", "tie_word_embeddings",
}  # fmt: skip
FORMATS = {
    "float32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "bfloat16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
}


def export(source: Source, folder: Path, check_stop: CheckStop) -> Verification:
    """Merge, write ``model.gguf`` with a Modelfile, and check it."""
    _, tokenizer = source.base_files
    assert tokenizer is not None, "refused before"
    write_modelfile(source, f"FROM ./{FILE}\n", folder)
    model = merge(source)
    write(model, source, tokenizer, folder)
    check_stop()
    return check(model, source, tokenizer, folder)


def write(merged: Any, source: Source, tokenizer: Mapping[str, Any], folder: Path, file: str = FILE) -> None:
    """Write one file with weights, hyperparameters, vocabulary and chat template; not quantised."""
    names = Names(merged.config)
    matrix, file_type = FORMATS[source.stored.dtype]
    writer = gguf.GGUFWriter(folder / file, names.arch)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(source.settings.get("model_name") or folder.name)
    writer.add_file_type(file_type)
    _add_shape(writer, merged.config, names.arch)
    add_vocabulary(writer, source.tokenizer, tokenizer, merged.config.vocab_size)
    for name, tensor in merged.state_dict().items():
        if name == "lm_head.weight" and merged.config.tie_word_embeddings:
            continue
        to = names.translate(name)
        kind = (
            matrix if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32
        )  # llama.cpp requires vectors in F32
        values = gguf.quantize(to_numpy(names.order_rows(to, tensor)), kind)
        writer.add_tensor(to, values, raw_dtype=kind)
    write_file(writer)


def _add_shape(writer: gguf.GGUFWriter, config: Any, arch: str) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope_parameters(config.to_dict())["rope_theta"])
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(config.vocab_size)


def write_base(source: Source, tokenizer: Mapping[str, Any], folder: Path) -> None:
    """Write ``base.gguf``, the untuned base for the adapter, and check it."""
    path = source.base_path
    base = loading.load_model(path.name, path, getattr(torch, source.stored.dtype))
    write(base, source, tokenizer, folder, BASE_FILE)
    check_tensors(_read(base, source, tokenizer, folder, BASE_FILE).state_dict(), base.state_dict())


def check(merged: Any, source: Source, tokenizer: Mapping[str, Any], folder: Path) -> Verification:
    """Load the file with transformers' GGUF reader, and check vocabulary, shape, weights and outputs."""
    again = _read(merged, source, tokenizer, folder, FILE)
    tensors = check_tensors(again.state_dict(), merged.state_dict())
    return check_logprobs(again, source, "loaded with transformers' GGUF reader", tensors)


def _read(model: Any, source: Source, tokenizer: Mapping[str, Any], folder: Path, file: str) -> Any:
    """Load the model of a file. Raises ``EngineError`` if its vocabulary or shape differs from ``model``'s.

    transformers' reader skips the head size of some architectures. The model is therefore built from the
    config, and what the reader found is compared with it.
    """
    field = gguf.GGUFReader(folder / file).get_field("tokenizer.ggml.tokens")
    if field is None or field.contents() != list_tokens(tokenizer, model.config.vocab_size)[0]:
        raise export_differs("its vocabulary is not the tokenizer's")
    _check_shape(model.config, folder / file)
    return AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, config=deepcopy(model.config), dtype=getattr(torch, source.stored.dtype)
    )


def _check_shape(config: Any, file: Path) -> None:
    found = load_gguf_checkpoint(file)["config"]
    expected = config.to_dict() | {"rope_theta": rope_parameters(config.to_dict())["rope_theta"]}
    for name in SHAPE & found.keys():
        if abs(found[name] - expected[name]) > 1e-6 * abs(expected[name]):  # the file has floats of 32 bits
            raise export_differs(f"its {name} is {found[name]}, not {expected[name]}")
