"""``python -m tests.models.chat_templates``: renders with every bundled template, writes a table.

The templates are those that TRL and transformers bundle and those that the form of base models offers. The
table is in ``docs/models.md``; a test holds it against what the installed versions give.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.workers.engine_jobs import tiny_tokenizer
from workers.contract.base_models import chat_templates
from workers.engine.prompts.rendering import Renderer, RenderingError

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- templates: python -m tests.models.chat_templates -->", "<!-- /templates -->"
IN_SOURCE = ("models.llama4.processing_llama4", "models.smolvlm.processing_smolvlm")
USER = {"role": "user", "content": "Weather?"}
SYSTEM = {"role": "system", "content": "Be brief."}
ASSISTANT = {"role": "assistant", "content": "Sunny."}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "its name"}},
            "required": ["city"],
        },
    },
}
CALL = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
CALLED = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [{"id": "call12345", "function": CALL}]},
    {"role": "tool", "tool_call_id": "call12345", "content": "sunny"},
]
FOLDS = {"none": "yes", "later": "folded", "all": "folded"}


def bundled() -> dict[str, str]:
    """Name -> template; those that TRL derives for training render alike and are left out."""
    found = importlib.util.find_spec("trl")
    assert found is not None
    assert found.origin is not None
    files = sorted((Path(found.origin).parent / "chat_templates").glob("*.jinja"))
    templates = {file.stem: file.read_text() for file in files if not file.stem.endswith("_training")}
    for module in IN_SOURCE:
        templates |= {f"{module.split('.')[1]} (transformers)": text for text in _in_source(module)}
    return templates | {f"{key} (Groove)": text for key, (_, text) in chat_templates.SHIPPED.items()}


def _in_source(module: str) -> list[str]:
    """Return templates that are texts in a module of transformers."""
    found = importlib.util.find_spec("transformers")
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).parent.joinpath(*module.split(".")).with_suffix(".py")
    names = (node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Assign))
    values = (node.value for node in names if "template" in ast.unparse(node.targets[0]).lower())
    texts = [value.value for value in values if isinstance(value, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and "{%" in text]


def renderer(template: str) -> Renderer:
    """A renderer with the template on a tokenizer of a few words."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template, tokenizer.bos_token = template, "<pad>"
    return Renderer(tokenizer, [1, 2])


def _system(made: Renderer, messages: list[dict[str, Any]]) -> str:
    """Describe how system messages are rendered; the column shows a fold of later ones only."""
    made._rewrites.clear()
    try:
        made.render(messages)
    except RenderingError:
        return "refused"
    return FOLDS[next(iter(made._rewrites.values())).fold]


def _shows(made: Renderer, messages: list[dict[str, Any]], tools: list[dict[str, Any]], part: str) -> str:
    try:
        return "yes" if part in made.render(messages, tools) else "no"
    except RenderingError:
        return "refused"


def _thoughts(made: Renderer) -> str:
    if made.markers is None:
        return ""
    opened = "opened, " if made.opens_thoughts(made.render([USER])) else ""
    return f"{opened}`{made.markers.open}`".replace("|", "\\|")


def row(template: str) -> list[str]:
    """Return the table's row of one template."""
    made = renderer(template)
    offered = [TOOL] if made.shows_tools else []
    return [
        _system(made, [SYSTEM, USER]),
        _system(made, [USER, ASSISTANT, SYSTEM, USER]),
        "own role" if made.knows_developer else "as system",
        "yes" if offered else "refused",
        _shows(made, CALLED, offered, "Rome"),
        _shows(made, [USER, ASSISTANT], [], "Sunny."),
        _thoughts(made),
    ]


def table() -> str:
    """Templates that behave alike share a line."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, template in bundled().items():
        alike.setdefault(tuple(row(template)), []).append(name)
    head = ["template", "system", "later system", "developer", "tools", "tool calls", "prefill", "thoughts"]
    lines = [head, ["---"] * len(head)]
    lines += [[", ".join(f"`{name}`" for name in names), *found] for found, names in alike.items()]
    versions = " and ".join(f"{name} {version(name)}" for name in ("trl", "transformers"))
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"Tried with {versions}.\n\n{rows}"


def in_document(text: str) -> str:
    """The table as ``docs/models.md`` has it now."""
    found = re.search(f"{re.escape(BEGIN)}\n\n(.*?)\n\n{re.escape(END)}", text, re.DOTALL)
    return found[1] if found else ""


def main() -> None:
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
