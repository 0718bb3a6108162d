"""Chat templates for base models without one: a short list, and a check of a template that a user typed.

``python -m workers.contract.base_models.chat_templates`` checks the template on standard input. It is a
separate process, so that an endless template can be killed. The environment is sandboxed like transformers'.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHECK_SECONDS = 5
CHECK_BYTES = 512 << 20
CHECK_CHARACTERS = 100_000
MARK = "zzmark"
TOO_LARGE = "it needs more memory than a template may take"
PROJECT = Path(__file__).parents[3]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant are known') }}{% endif %}{% endfor %}"
)
PLAIN = (
    "{% for m in messages %}{{ m['role'] | capitalize }}: {{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
SHIPPED = {
    "chatml": ("ChatML, as Qwen and many others use", CHATML),
    "llama-3": ("Llama 3", LLAMA_3),
    "gemma": ("Gemma", GEMMA),
    "mistral": ("Mistral, [INST]", MISTRAL),
    "plain": ("Plain text, User: and Assistant:", PLAIN),
}
"""Key -> label on the form, and template."""


class _Generation(Extension):
    """``{% generation %}``, with which templates for training mark the assistant's text."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class TemplateRefused(ValueError):
    """The template cannot be used; the message has the reason."""


class TemplateUnbounded(TemplateRefused):
    """The template needs more time or memory than allowed."""


def check(template: str, arguments: Mapping[str, Any] | None = None) -> None:
    """Render ``template`` in a separate process. Raises ``TemplateRefused``."""
    request = json.dumps({"template": template, "arguments": arguments or {}})
    command = [sys.executable, "-m", "workers.contract.base_models.chat_templates"]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=CHECK_SECONDS, cwd=PROJECT
        )
    except subprocess.TimeoutExpired as error:
        raise TemplateUnbounded(f"it does not end within {CHECK_SECONDS} seconds") from error
    if done.returncode:
        reason = done.stdout.strip() or TOO_LARGE
        raise TemplateUnbounded(reason) if reason == TOO_LARGE else TemplateRefused(reason)


def render(template: str, messages: list[dict[str, str]], **arguments: Any) -> str:
    """Render a conversation in the environment that transformers uses."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": datetime.now().strftime}
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return environment.from_string(template).render(messages=messages, **(tokens | arguments))


def _as_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def find_problem(template: str, arguments: Mapping[str, Any]) -> str:
    """Return why the template cannot be used; empty if it renders a question and a generation prompt."""
    question = [{"role": "user", "content": MARK}]
    try:
        prompt = render(template, question, add_generation_prompt=True, **arguments)
    except MemoryError:
        return TOO_LARGE
    except Exception as error:  # a template may raise any exception
        line = getattr(error, "lineno", None)
        return (str(error) or type(error).__name__) + (f" (line {line})" if line else "")
    if MARK not in prompt:
        return "it does not show the user's message"
    if len(prompt) > CHECK_CHARACTERS:
        return f"it writes {len(prompt):,} characters around one short message"
    if not prompt.split(MARK)[-1].strip():
        return "it has no generation prompt: nothing after the last message begins the model's turn"
    return ""


def main() -> int:
    """Read one request from standard input; print its problem and return 1, or return 0."""
    resource.setrlimit(resource.RLIMIT_AS, (CHECK_BYTES, CHECK_BYTES))
    request = json.load(sys.stdin)
    problem = find_problem(request["template"], request["arguments"])
    print(problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
