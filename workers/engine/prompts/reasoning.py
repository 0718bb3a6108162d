"""Thoughts that a model writes before its final answer: found by their markers and split off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Markers:
    """Texts around the thoughts of a family of models."""

    open: str
    close: str


KNOWN = (
    Markers("<think>", "</think>"),  # DeepSeek-R1, Qwen3 to 3.8, Nemotron-3, GLM-4.5, and most others
    Markers("[THINK]", "[/THINK]"),  # Magistral
    Markers("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
    Markers("<|channel>thought", "<channel|>"),  # Gemma 4
    Markers("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    Markers("<seed:think>", "</seed:think>"),  # Seed-OSS
)
GPT_OSS_TURN = "<|end|><|start|>assistant"  # between the thoughts of gpt-oss and its final channel
SWITCHES: tuple[Mapping[str, Any], ...] = ({}, {"enable_thinking": True}, {"thinking": True})
"""Template arguments that make chat templates begin a completion with thoughts."""


def split_thoughts(text: str, markers: Markers, opened: bool) -> tuple[str, str]:
    """Return final answer and thoughts of a completion; ``opened`` if the prompt ends inside thoughts.

    A completion that is cut inside its thoughts has an empty final answer. A closing marker without an
    opening one ends thoughts that began with the completion.
    """
    inside = opened or 0 <= text.find(markers.close) < _find(text, markers.open)
    final: list[str] = []
    thoughts: list[str] = []
    rest = text
    while True:
        before, found, rest = rest.partition(markers.close if inside else markers.open)
        (thoughts if inside else final).append(before)
        if not found:
            break
        inside = not inside
    if not thoughts:
        return text, ""
    return "".join(final).lstrip(), "\n\n".join(map(_strip_markers, thoughts)).strip()


def _find(text: str, part: str) -> int:
    """Return the index of ``part``; the length of the text if it is missing."""
    index = text.find(part)
    return len(text) if index < 0 else index


def _strip_markers(thoughts: str) -> str:
    return thoughts.strip().removesuffix(GPT_OSS_TURN).removesuffix("<|end|>").strip()


def is_open(tail: str, markers: Markers) -> bool:
    """Return True if the text after a prompt's last turn begins thoughts and does not end them."""
    return tail.rfind(markers.open) > tail.rfind(markers.close)
