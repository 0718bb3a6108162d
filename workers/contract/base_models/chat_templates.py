"""Chat templates for base models that bring none: a short list, and a check of one that somebody typed.

``python -m workers.contract.base_models.chat_templates`` checks the template on standard input. It is a
process of its own, so that a template that never ends can be killed. The environment is sandboxed like
transformers' own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
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
"""By key: what the form calls it, and the template."""


class _Generation(Extension):
    """``{% generation %}``, by which templates for training mark what the assistant wrote."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class TemplateRefused(ValueError):
    """The template is of no use; the message says why."""


class TemplateUnbounded(TemplateRefused):
    """The template takes more time or memory than a template may."""


def check(template: str, arguments: dict[str, Any] | None = None) -> None:
    """Renders ``template`` in a process of its own. Raises ``TemplateRefused``."""
    request = json.dumps({"template": template, "arguments": arguments or {}})
    command = [sys.executable, "-m", "workers.contract.base_models.chat_templates"]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=CHECK_SECONDS, cwd=PROJECT
        )
    except subprocess.TimeoutExpired as error:
        raise TemplateUnbounded(f"it does not end within {CHECK_SECONDS} seconds") from error
    if done.returncode:
        said = done.stdout.strip() or TOO_LARGE
        raise TemplateUnbounded(said) if said == TOO_LARGE else TemplateRefused(said)


def render(template: str, messages: list[dict[str, str]], **arguments: Any) -> str:
    """The text of a conversation, in the environment that transformers renders in."""
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


def problem(template: str, arguments: dict[str, Any]) -> str:
    """Why the template is of no use; empty if it renders a question and leaves room for its completion."""
    question = [{"role": "user", "content": MARK}]
    try:
        shown = render(template, question, add_generation_prompt=True, **arguments)
    except MemoryError:
        return TOO_LARGE
    except Exception as error:  # a template raises what it likes
        line = getattr(error, "lineno", None)
        return (str(error) or type(error).__name__) + (f" (line {line})" if line else "")
    if MARK not in shown:
        return "it does not show the user's message"
    if len(shown) > CHECK_CHARACTERS:
        return f"it writes {len(shown):,} characters around one short message"
    if not shown.split(MARK)[-1].strip():
        return "it has no generation prompt: nothing after the last message says that the model's turn begins"
    return ""


def main() -> int:
    """Reads one request from standard input; prints what is wrong and returns 1, or returns 0."""
    resource.setrlimit(resource.RLIMIT_AS, (CHECK_BYTES, CHECK_BYTES))
    request = json.load(sys.stdin)
    found = problem(request["template"], request["arguments"])
    print(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
