"""A byte-pair vocabulary in GGUF, for the tokenizer of llama.cpp that gives the same ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gguf

from workers.contract.base_models import sentence_pieces
from workers.contract.base_models.gguf import pre_type


def list_tokens(tokenizer: Mapping[str, Any], size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Return text and type of each id below ``size``. Ids that only the model has are unused."""
    texts = [f"[PAD{number}]" for number in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    pieces = pre_type(tokenizer) is None
    special = {added["id"] for added in tokenizer["added_tokens"]}
    for text, number in tokenizer["model"]["vocab"].items():
        if number not in special:
            texts[number], types[number] = _piece(text) if pieces else (text, gguf.TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        texts[added["id"]], types[added["id"]] = added["content"], kind
    return texts, types


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Any, content: Mapping[str, Any], size: int) -> None:
    """Add tokens, merges, special ids and chat template. ``content`` is the base's tokenizer.json."""
    texts, types = list_tokens(content, size)
    writer.add_token_list(texts)
    writer.add_token_types(types)
    if pre := pre_type(content):
        writer.add_tokenizer_model("gpt2")  # llama.cpp's name for byte-level BPE
        writer.add_tokenizer_pre(pre)
        merges = content["model"]["merges"]
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    else:
        _add_pieces(writer, content, size)
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if number is not None:
            add(number)
    first = tokenizer("a")["input_ids"][0]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id)
    if isinstance(templates := tokenizer.chat_template, dict):
        writer.add_chat_template([{"name": name, "template": text} for name, text in templates.items()])
    elif templates is not None:
        writer.add_chat_template(templates)


def _piece(word: str) -> tuple[str, gguf.TokenType]:
    """Return text and type of a byte-level vocabulary's token in a SentencePiece vocabulary."""
    if (text := sentence_pieces.to_piece(word)) is not None:
        return text, gguf.TokenType.NORMAL
    return f"<0x{sentence_pieces.byte_letters()[word]:02X}>", gguf.TokenType.BYTE


def _add_pieces(writer: gguf.GGUFWriter, content: Mapping[str, Any], size: int) -> None:
    """Add scores instead of merges, and no space before a text."""
    scores = sentence_pieces.compute_scores(content)
    assert scores is not None, "refused before"
    found = {content["model"]["vocab"][word]: score for word, score in scores.items()}
    writer.add_tokenizer_model("llama")  # llama.cpp's name for SentencePiece
    writer.add_tokenizer_pre("default")
    writer.add_token_scores([found.get(number, sentence_pieces.SINGLE) for number in range(size)])
    writer.add_add_space_prefix(False)
