"""A chat template in Ollama's language, where that is possible to the letter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.engine.prompts.rendering import Renderer, RenderingError

TALK = [
    {"role": "user", "content": "FIRST"},
    {"role": "assistant", "content": "REPLY"},
    {"role": "user", "content": "SECOND"},
]
SYSTEM = {"role": "system", "content": "SYSTEM"}
QUOTE = '"""'  # ends a text in a Modelfile


@dataclass(frozen=True)
class Layout:
    """How a family of templates writes a conversation: in Python's words, and in Ollama's."""

    begin: str
    message: str
    generation: str
    template: str

    def write(self, messages: list[dict[str, str]]) -> str:
        """The prompt of a conversation, with the header of the completion."""
        turns = (self.message.format(**message) for message in messages)
        return self.begin + "".join(turns) + self.generation


CHATML = Layout(
    "",
    "<|im_start|>{role}\n{content}<|im_end|>\n",
    "<|im_start|>assistant\n",
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
    "<|im_start|>assistant\n",
)
LLAMA_3 = Layout(
    "<|begin_of_text|>",
    "<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|begin_of_text|>{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n"
    "{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n",
)


@dataclass(frozen=True)
class Translation:
    """Ollama's ``TEMPLATE`` and ``SYSTEM``. ``system`` is what the model's own template says unless told."""

    template: str
    system: str


def translate(renderer: Renderer) -> Translation | None:
    """The template in Ollama's language; ``None`` unless it renders dialogues to the letter.

    Both a dialogue with a system message and one without are compared, for many templates begin the latter
    with a system message of their own, and the model was tuned behind it.
    """
    try:
        told, untold = renderer.render([SYSTEM, *TALK]), renderer.render(TALK)
    except RenderingError:
        return None
    for layout in (CHATML, LLAMA_3):
        wanted = layout.write([SYSTEM, *TALK])
        if told.startswith(wanted):
            ahead = told.removeprefix(wanted)
            system = _default_system(layout, untold.removesuffix(ahead))
            fits = system is not None and untold.endswith(ahead) and QUOTE not in f"{system}{ahead}"
            return Translation(layout.template + ahead, system or "") if fits else None
    return None


def _default_system(layout: Layout, untold: str) -> str | None:
    """What the template says when no system message is given; ``None`` if it is no system message."""
    plain = layout.write(TALK)
    if untold == plain:
        return ""
    before, after = layout.message.format(role="system", content="\0").split("\0")
    head, tail = layout.begin + before, after + plain.removeprefix(layout.begin)
    if not (untold.startswith(head) and untold.endswith(tail)):
        return None
    system = untold[len(head) : len(untold) - len(tail)]
    message: Any = {"role": "system", "content": system}
    return system if layout.write([message, *TALK]) == untold else None
