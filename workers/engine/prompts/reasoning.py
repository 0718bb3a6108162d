"""Thoughts that a model writes before its final answer: found by their markers, and kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Markers:
    """The texts between which a family of models thinks."""

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
GPT_OSS_TURN = "<|end|><|start|>assistant"  # stands between gpt-oss's thoughts and its final channel
SWITCHES: tuple[Mapping[str, Any], ...] = ({}, {"enable_thinking": True}, {"thinking": True})
"""Template arguments by which templates of today's models open a completion's thoughts."""


def split_thoughts(text: str, markers: Markers, opened: bool) -> tuple[str, str]:
    """The final answer and the thoughts of a completion; ``opened`` if the prompt ends inside thoughts.

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
    return "".join(final).lstrip(), "\n\n".join(map(_bare, thoughts)).strip()


def _find(text: str, part: str) -> int:
    """Where ``part`` begins; beyond the end of the text if it does not stand there."""
    place = text.find(part)
    return len(text) if place < 0 else place


def _bare(thoughts: str) -> str:
    return thoughts.strip().removesuffix(GPT_OSS_TURN).removesuffix("<|end|>").strip()


def is_open(tail: str, markers: Markers) -> bool:
    """True if the text after a prompt's last turn begins thoughts and does not end them."""
    return tail.rfind(markers.open) > tail.rfind(markers.close)
