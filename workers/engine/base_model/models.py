"""The base model: loading it, and running it with its adapter folded in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workers.contract.base_models import folder_check
from workers.contract.spec import BaseModelRef, ChatSettings
from workers.engine import errors, parallel
from workers.engine.base_model import loading, model_errors
from workers.engine.base_model.sources import locate
from workers.engine.memory import release_heap
from workers.engine.prompts.rendering import Renderer

DEFAULT_CHAT = ChatSettings()

LARGE = 20_000_000  # folded weights above which it is worth the time to release their memory


@dataclass(frozen=True)
class Base:
    """A loaded base model. ``eos_ids`` are all tokens that end a completion, not only the tokenizer's."""

    ref: BaseModelRef
    path: Path
    revision: str | None
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    eos_ids: list[int]
    chat: ChatSettings = DEFAULT_CHAT

    @cached_property
    def renderer(self) -> Renderer:
        """Renders conversations for this model and decodes its completions."""
        arguments = {**self.ref.template_arguments, **self.chat.template_arguments}
        return Renderer(self.tokenizer, self.eos_ids, arguments, self.chat.grade)


def pick_device(kind: str) -> torch.device:
    """Return the job's device. Raises ``EngineError`` if it is a GPU and there is none."""
    if kind == "cuda" and not torch.cuda.is_available():
        raise errors.cuda_missing()
    if kind == "cuda":
        torch.cuda.set_device(parallel.local_rank())
        return torch.device("cuda", parallel.local_rank())
    return torch.device(kind)


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 on a GPU that has it, else float32: CPUs without bf16 units are twice as slow in it."""
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def load(ref: BaseModelRef, folder: Path, device: torch.device, chat: ChatSettings = DEFAULT_CHAT) -> Base:
    """Load tokenizer and weights. Raises ``EngineError`` if they are missing or unusable."""
    path, revision = locate(ref, folder)
    loading.check_files(ref.id, path)
    tokenizer = loading.load_tokenizer(ref.id, path, padding_side="left", truncation_side="left")
    if ref.chat_template:
        tokenizer.chat_template = ref.chat_template
    if tokenizer.chat_template is None:
        raise model_errors.no_chat_template(ref.id)
    config = loading.load_config(ref.id, path)
    loading.turn_off_dropout(config)
    model = loading.load_model(ref.id, path, pick_dtype(device), config)
    ends = end_tokens(model, tokenizer)
    if not ends:
        raise model_errors.no_end_token(ref.id)
    choose_padding(tokenizer, ends, embedding_rows(model))
    return Base(ref, path, revision, model.to(device).eval(), tokenizer, ends, chat)


def embedding_rows(model: PreTrainedModel) -> int:
    """Return for how many token ids the model has an embedding."""
    embeddings: Any = model.get_input_embeddings()
    return len(embeddings.weight)


def choose_padding(tokenizer: PreTrainedTokenizerBase, ends: list[int], rows: int) -> None:
    """Give the tokenizer a padding token for which the model has an embedding.

    Padding is masked everywhere, so any token will do; one beyond the embedding would crash the process.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < rows:
        return
    known = [
        token for token in (tokenizer.eos_token_id, *ends, tokenizer.unk_token_id, 0) if token is not None
    ]
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(next(token for token in known if token < rows))


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token ids that end a completion: of the generation config and of the tokenizer."""
    declared = model.generation_config.eos_token_id if model.generation_config else None
    ids = [] if declared is None else declared if isinstance(declared, list) else [declared]
    return [token for token in dict.fromkeys([*ids, tokenizer.eos_token_id]) if token is not None]


def weights_sha256(path: Path) -> str:
    """Return one hash over the base model's weight files, in name order."""
    digest = hashlib.sha256()
    for file in folder_check.weight_files(path, pickled=True):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


@contextmanager
def fold_adapter(model: PeftModel) -> Iterator[None]:
    """Fold the adapter into the weights inside: W + BA is formed once instead of at every token.

    Afterwards the original tensors are put back, not computed back, so the base stays equal bit for bit. In
    16 bits folding would round the adapter away from what is trained; there it remains separate.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights: list[Any] = [layer.get_base_layer().weight for layer in layers]
    if any(weight.dtype != torch.float32 for weight in weights):
        yield
        return
    originals = [weight.data for weight in weights]
    with torch.no_grad():
        for layer, weight in zip(layers, weights, strict=True):
            weight.data = weight.data + layer.get_delta_weight("default")
    try:
        with model.disable_adapter():
            yield
    finally:
        for weight, original in zip(weights, originals, strict=True):
            weight.data = original
        if sum(weight.numel() for weight in weights) > LARGE:
            release_heap()


def adapter_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """Return the adapter's trainable tensors by name, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters() if ".default." in name}


def adapter_sha256(model: PeftModel) -> str:
    """Return a hash of the adapter's weights; it is equal only if every bit is."""
    digest = hashlib.sha256()
    for name, tensor in sorted(adapter_state(model).items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
