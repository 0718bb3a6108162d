"""Read a grader's definition, as a person or an API client wrote it; name the field that is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from workers.contract.graders import EnvironmentGrader, Grader, JudgeMessage
from workers.contract.json_types import JsonObject
from workers.grading.kinds import KINDS
from workers.grading.results import GraderInvalid, errors_below
from workers.grading.template import TemplateInvalid, parse_template

BLOCKS = ("input_text", "output_text")
TEMPLATE_FIELDS = ("input", "reference", "context")
_ADAPTER: TypeAdapter[Grader] = TypeAdapter(Grader)


def validate(raw: Any) -> Grader:
    """Return the definition, normalised and fully checked; Python source is parsed, never run.

    ``neq`` is read as ``ne``, a list of graders as a map by name, a schema in OpenAI's ``response_format`` as
    the schema itself; ``pass_threshold`` is dropped. Raises ``GraderInvalid``.
    """
    normalised = _normalise(raw)
    try:
        grader = _ADAPTER.validate_python(normalised)
    except ValidationError as error:
        raise _build_error(error) from error
    check(grader)
    return grader


def check(grader: Grader) -> None:
    """Check what the schema alone cannot: templates, source and formula. Raises ``GraderInvalid``."""
    kind = KINDS[grader.type]
    _check_templates(grader)
    kind.check(grader)
    for path, part in kind.parts(grader).items():
        with errors_below(path):
            check(part)


def canonical(grader: Grader) -> str:
    """Return the definition as JSON in one fixed form: equal graders, equal text."""
    return json.dumps(
        grader.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def sha256(grader: Grader) -> str:
    """Return the hash of the canonical form, in hex."""
    return hashlib.sha256(canonical(grader).encode("utf-8", "surrogatepass")).hexdigest()


# --- properties of a grader ------------------------------------------------------------------------


def judge_models(grader: Grader) -> list[str]:
    """Return the models that the grader asks, each once, in order of appearance."""
    asking = [part for part in _walk(grader) if KINDS[part.type].asks_judge]
    models = [getattr(part, "model", None) for part in asking]
    return list(dict.fromkeys(model for model in models if model))


def compares_answers(grader: Grader) -> bool:
    """Return True if a reward depends on the other completions to the prompt (``ranking``)."""
    return any(KINDS[part.type].compares_answers for part in _walk(grader))


def reads_episode(grader: Grader) -> bool:
    """Return True if the grader, or a part of it, returns the reward of an environment."""
    return any(isinstance(part, EnvironmentGrader) for part in _walk(grader))


def _walk(grader: Grader) -> Iterator[Grader]:
    """Yield the grader and all its parts."""
    yield grader
    for part in KINDS[grader.type].parts(grader).values():
        yield from _walk(part)


# --- normal form -----------------------------------------------------------------------------------


def _normalise(raw: object) -> JsonObject:
    if not isinstance(raw, dict):
        raise GraderInvalid("", "a grader is a JSON object with a type")
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        raise GraderInvalid("type", f"{kind!r} is none of {', '.join(KINDS)}")
    definition = {key: value for key, value in raw.items() if key != "pass_threshold"}
    if isinstance(messages := definition.get("input"), list):
        _check_messages(messages)
    return KINDS[kind].normalise(definition, _normalise)


def _check_messages(messages: list[Any]) -> None:
    """Refuse a block that no judge here can read, by its path; the schema checks the rest."""
    for number, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        path = f"input.{number}.content"
        blocks = {path: content}
        if isinstance(content, list):
            blocks = {f"{path}.{index}": block for index, block in enumerate(content)}
        for param, block in blocks.items():
            if isinstance(block, dict):
                _check_block(block, param)
            elif not isinstance(block, str | None):
                raise GraderInvalid(param, "content is text, a block of text or a list of them")


def _check_block(block: Mapping[str, object], param: str) -> None:
    kind = block.get("type", BLOCKS[0])
    if kind not in BLOCKS:
        what = {"input_image": "images", "input_audio": "sound"}.get(str(kind), "this kind of content")
        message = f"{kind}: {what} cannot be graded here; a block is {' or '.join(BLOCKS)}"
        raise GraderInvalid(f"{param}.type", message)
    if not isinstance(block.get("text"), str):
        raise GraderInvalid(f"{param}.text", "a block needs a text")
    unknown = sorted(map(str, block.keys() - {"type", "text"}))
    if unknown:
        raise GraderInvalid(f"{param}.{unknown[0]}", "a block has only type and text")


def _build_error(error: ValidationError) -> GraderInvalid:
    """Return pydantic's first error, without the types that its path names behind each grader."""
    problem = error.errors(include_url=False)[0]
    path, message = [str(part) for part in problem["loc"]], problem["msg"]
    if problem["type"].startswith("recursion"):  # the path has a key and a type for each level of the value
        path = path[: next(index for index, step in enumerate(path) if step in ("dict", "list")) - 1]
        message = "it is nested too deeply"
    steps = [step for index, step in enumerate(path) if not _names_type(path, index)]
    return GraderInvalid(".".join(steps), message)


def _names_type(path: list[str], index: int) -> bool:
    before = path[:index]
    return path[index] in KINDS and (not before or before[-1] == "grader" or before[-2:-1] == ["graders"])


# --- templates -------------------------------------------------------------------------------------


def _check_templates(grader: Grader) -> None:
    for field in TEMPLATE_FIELDS:
        value = getattr(grader, field, None)
        texts = _list_texts(value) if isinstance(value, list) else {"": value} if value else {}
        for path, text in texts.items():
            try:
                parse_template(text)
            except TemplateInvalid as error:
                raise GraderInvalid(field + path, str(error)) from error


def _list_texts(messages: list[JudgeMessage]) -> dict[str, str]:
    """Return every template in a judge's messages by its path."""
    texts: dict[str, str] = {}
    for number, message in enumerate(messages):
        content = message.content if isinstance(message.content, list) else [message.content]
        for index, block in enumerate(content):
            path = f".{number}.content" + (f".{index}" if isinstance(message.content, list) else "")
            texts[path] = block if isinstance(block, str) else block.text
    return texts
