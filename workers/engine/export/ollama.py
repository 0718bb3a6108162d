"""Translation of a chat template to Ollama's language, if the result is exact."""

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
    """A family of templates, in Python's format and in Ollama's."""

    begin: str
    message: str
    generation: str
    template: str

    def write(self, messages: list[dict[str, str]]) -> str:
        """Return the prompt of a conversation, with the header of the completion."""
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
    """Ollama's ``TEMPLATE`` and ``SYSTEM``. ``system`` is the template's own default system message."""

    template: str
    system: str


def translate(renderer: Renderer) -> Translation | None:
    """Translate the template; ``None`` unless the result renders dialogues exactly.

    Dialogues with and without a system message are compared, because many templates begin the latter with a
    default system message, and the model was tuned with it.
    """
    try:
        with_system, without_system = renderer.render([SYSTEM, *TALK]), renderer.render(TALK)
    except RenderingError:
        return None
    for layout in (CHATML, LLAMA_3):
        expected = layout.write([SYSTEM, *TALK])
        if with_system.startswith(expected):
            rest = with_system.removeprefix(expected)  # such as the beginning of thoughts
            system = _find_default_system(layout, without_system.removesuffix(rest))
            fits = system is not None and without_system.endswith(rest) and QUOTE not in f"{system}{rest}"
            return Translation(layout.template + rest, system or "") if fits else None
    return None


def _find_default_system(layout: Layout, prompt: str) -> str | None:
    """Return the default system message of a prompt without one; ``None`` if it begins with anything else."""
    plain = layout.write(TALK)
    if prompt == plain:
        return ""
    before, after = layout.message.format(role="system", content="\0").split("\0")
    head, tail = layout.begin + before, after + plain.removeprefix(layout.begin)
    if not (prompt.startswith(head) and prompt.endswith(tail)):
        return None
    system = prompt[len(head) : len(prompt) - len(tail)]
    message: Any = {"role": "system", "content": system}
    return system if layout.write([message, *TALK]) == prompt else None
