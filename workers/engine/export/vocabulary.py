"""A byte-pair vocabulary as GGUF keeps it."""

from __future__ import annotations

from typing import Any

import gguf

from workers.exports import Json, pre_type


def tokens_of(tokenizer: Json, size: int) -> tuple[list[str], list[gguf.TokenType]]:
    """Text and type of each id below ``size``; ids that the model has and the tokenizer lacks are unused."""
    texts = [f"[PAD{number}]" for number in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for text, number in tokenizer["model"]["vocab"].items():
        texts[number], types[number] = text, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        special = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        texts[added["id"]], types[added["id"]] = added["content"], special
    return texts, types


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Any, content: Json, size: int) -> None:
    """Tokens, merges, the special ids and the chat template. ``content`` is the base's tokenizer.json."""
    texts, types = tokens_of(content, size)
    pre = pre_type(content)
    assert pre is not None, "refused before"
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name for byte-level BPE
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(texts)
    writer.add_token_types(types)
    merges = content["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if number is not None:
            add(number)
    first = tokenizer("a")["input_ids"][0]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and first == tokenizer.bos_token_id)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
