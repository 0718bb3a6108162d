"""Splits a model's thoughts from its answer. The standard library alone: it also runs inside the sandbox."""

from __future__ import annotations

import re

TAGS = r"(?:think|thinking|thought|thoughts|reason|reasoning|reflection|scratchpad)"
_OPENED = re.compile(rf"\s*(?:<(?P<tag>{TAGS})\b[^>]*>|\[(?P<mark>THINK|THINKING)\])", re.IGNORECASE)
_CLOSED = re.compile(rf"</{TAGS}\s*>|\[/(?:THINK|THINKING)\]|<\|?/?end_of_thought\|?>", re.IGNORECASE)
# gpt-oss: <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_ENDED = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
# The same when a tokenizer has dropped the special tokens.
_BARE_CHANNELS = re.compile(r"\Aanalysis.*?assistantfinal", re.DOTALL)


def split_thoughts(text: str) -> tuple[str, str]:
    """Return (thoughts, answer). Without the end of the thoughts, the answer is empty.

    A closing tag alone counts too: some templates write the opening one into the prompt.
    """
    if "<|channel|>" in text:
        return _split_channels(text)
    bare = _BARE_CHANNELS.match(text)
    if bare:
        return text[: bare.end()], text[bare.end() :].strip()
    closed = list(_CLOSED.finditer(text))
    if closed:
        return text[: closed[-1].start()], text[closed[-1].end() :].strip()
    return (text, "") if _OPENED.match(text) else ("", text)


def without_thoughts(text: str) -> str:
    """Return the answer without the thoughts."""
    return split_thoughts(text)[1]


def _split_channels(text: str) -> tuple[str, str]:
    thoughts: list[str] = []
    answers: list[str] = []
    for channel in _CHANNEL.finditer(text):
        body = _ENDED.split(text[channel.end() :], maxsplit=1)[0].strip()
        (answers if channel[1] == "final" else thoughts).append(body)
    return "\n".join(thoughts), answers[-1] if answers else ""
