"""From what a person or an API client wrote to a grader that will run, or the field that prevents it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from workers.contract.graders import (
    Grader,
    JsonSchemaGrader,
    JudgeMessage,
    LabelModelGrader,
    MultiGrader,
    PythonGrader,
    RankingGrader,
    RegexGrader,
    RubricGrader,
    ScoreModelGrader,
    SqlGrader,
)
from workers.grading import json_schema, regex, sql
from workers.grading.formula import FUNCTIONS, FormulaInvalid, parse_formula
from workers.grading.results import GraderInvalid
from workers.grading.source import python_problems
from workers.grading.template import TemplateInvalid, parse_template

# Every Python part keeps a process of its own.
MAX_PARTS = 32
OPENAI_TYPES = ("string_check", "text_similarity", "python", "score_model", "label_model", "multi")
OUR_TYPES = ("json_schema", "regex", "math", "sql", "rubric", "ranking")
TYPES = OPENAI_TYPES + OUR_TYPES
TEMPLATE_FIELDS = ("input", "reference", "context")
_ADAPTER: TypeAdapter[Grader] = TypeAdapter(Grader)


def validate(raw: Any) -> Grader:
    """The definition, normalised and fully checked; Python source is parsed, never run.

    ``neq`` is read as ``ne``, a list of graders as a map by name, a schema in OpenAI's ``response_format`` as
    the schema itself; ``pass_threshold`` is dropped. Raises ``GraderInvalid``.
    """
    normalised = _normalised(raw, "")
    try:
        grader = _ADAPTER.validate_python(normalised)
    except ValidationError as error:
        raise _first_problem(error) from error
    check(grader)
    return grader


def check(grader: Grader) -> None:
    """What the schema alone cannot say: templates, source and formula. Raises ``GraderInvalid``."""
    _check(grader, "")


def canonical(grader: Grader) -> str:
    """The definition as JSON in one fixed form: equal graders, equal text."""
    return json.dumps(
        grader.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def sha256(grader: Grader) -> str:
    """Hash of the canonical form, in hex."""
    return hashlib.sha256(canonical(grader).encode("utf-8", "surrogatepass")).hexdigest()


# --- normal form -----------------------------------------------------------------------------------


def _normalised(raw: Any, param: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise GraderInvalid(param, "a grader is a JSON object with a type")
    kind = raw.get("type")
    if kind not in TYPES:
        raise GraderInvalid(_join(param, "type"), f"{kind!r} is none of {', '.join(TYPES)}")
    grader = {key: value for key, value in raw.items() if key != "pass_threshold"}
    if kind == "string_check" and grader.get("operation") == "neq":
        grader["operation"] = "ne"
    if kind == "text_similarity" and grader.get("evaluation_metric") == "cosine":
        raise GraderInvalid(_join(param, "evaluation_metric"), NO_COSINE)
    if isinstance(grader.get("input"), list):
        _check_messages(grader["input"], _join(param, "input"))
    if kind == "rubric" and isinstance(grader.get("criteria"), list):
        places = ((one, _join(param, f"criteria.{number}")) for number, one in enumerate(grader["criteria"]))
        grader["criteria"] = [_normalised_criterion(one, place) for one, place in places]
    if kind == "json_schema":
        grader["json_schema"] = json_schema.unwrapped(grader.get("json_schema"))
    if kind == "multi":
        grader["graders"] = _normalised_parts(grader.get("graders"), _join(param, "graders"))
    return grader


NO_COSINE = "cosine compares embeddings, and no embedding model is set; take another metric, such as rouge_l"


def _normalised_criterion(raw: Any, param: str) -> Any:
    if not isinstance(raw, dict) or not isinstance(raw.get("grader"), dict):
        return raw
    return {**raw, "grader": _normalised(raw["grader"], _join(param, "grader"))}


def _check_messages(messages: list[Any], param: str) -> None:
    """Names the very block that no judge here can read; the rest is the schema's to check."""
    for number, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        place = f"{param}.{number}.content"
        blocks = {place: content}
        if isinstance(content, list):
            blocks = {f"{place}.{index}": block for index, block in enumerate(content)}
        for at, block in blocks.items():
            if isinstance(block, dict):
                _check_block(block, at)
            elif not isinstance(block, str | None):
                raise GraderInvalid(at, "content is text, a block of text or a list of them")


def _check_block(block: dict[str, Any], param: str) -> None:
    kind = block.get("type", BLOCKS[0])
    if kind not in BLOCKS:
        what = {"input_image": "images", "input_audio": "sound"}.get(str(kind), "this kind of content")
        message = f"{kind}: {what} cannot be graded here; a block is {' or '.join(BLOCKS)}"
        raise GraderInvalid(_join(param, "type"), message)
    if not isinstance(block.get("text"), str):
        raise GraderInvalid(_join(param, "text"), "a block needs a text")
    unknown = sorted(map(str, block.keys() - {"type", "text"}))
    if unknown:
        raise GraderInvalid(_join(param, unknown[0]), "a block has only type and text")


BLOCKS = ("input_text", "output_text")


def _normalised_parts(raw: Any, param: str) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for key, part in _keyed(raw, param):
        normalised = _normalised(part, _join(param, key))
        if normalised["type"] == "multi":
            raise GraderInvalid(_join(param, key), "a multi grader cannot hold another one")
        if key in parts:
            raise GraderInvalid(_join(param, key), "two graders have this name")
        parts[key] = {"name": key} | normalised
    return parts


def _keyed(raw: Any, param: str) -> list[tuple[str, Any]]:
    if isinstance(raw, dict) and isinstance(raw.get("type"), str):
        raw = [raw]  # the SDK's type says one grader
    if isinstance(raw, dict):
        return list(raw.items())
    if not isinstance(raw, list):
        raise GraderInvalid(param, "graders is an object of graders by name")
    for index, part in enumerate(raw):
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            raise GraderInvalid(f"{param}.{index}.name", "a grader in a list needs a name")
    return [(part["name"], part) for part in raw]


def _join(param: str, field: str) -> str:
    return f"{param}.{field}" if param else field


def _first_problem(error: ValidationError) -> GraderInvalid:
    """pydantic's first complaint. Its places carry the type behind each grader's place; paths do not."""
    problem = error.errors(include_url=False)[0]
    place = [str(part) for part in problem["loc"]]
    steps = [step for index, step in enumerate(place) if not _names_type(place, index)]
    return GraderInvalid(".".join(steps), problem["msg"])


def _names_type(place: list[str], index: int) -> bool:
    before = place[:index]
    return place[index] in TYPES and (not before or before[-1] == "grader" or before[-2:-1] == ["graders"])


# --- what a grader asks for ------------------------------------------------------------------------


def judge_models(grader: Grader) -> list[str]:
    """The models that the grader asks, each once, in order of appearance."""
    models = [part.model for part in _parts(grader) if isinstance(part, JUDGES) and part.model]
    return list(dict.fromkeys(models))


def compares_answers(grader: Grader) -> bool:
    """Whether an answer's reward depends on the other answers to its prompt (``ranking``)."""
    return any(isinstance(part, RankingGrader) for part in _parts(grader))


JUDGES = (ScoreModelGrader, LabelModelGrader, RubricGrader, RankingGrader)


def _parts(grader: Grader) -> list[Grader]:
    return list(grader.graders.values()) if isinstance(grader, MultiGrader) else [grader]


# --- meaning ---------------------------------------------------------------------------------------


def _check(grader: Grader, param: str) -> None:
    _check_templates(grader, param)
    for kind, checked in CHECKS.items():
        if isinstance(grader, kind):
            checked(grader, param)


def _check_templates(grader: Grader, param: str) -> None:
    for field in TEMPLATE_FIELDS:
        value = getattr(grader, field, None)
        texts = _message_texts(value) if isinstance(value, list) else {"": value} if value else {}
        for place, text in texts.items():
            try:
                parse_template(text)
            except TemplateInvalid as error:
                raise GraderInvalid(_join(param, field + place), str(error)) from error


def _message_texts(messages: list[JudgeMessage]) -> dict[str, str]:
    """Every template in a judge's messages, by its place."""
    texts: dict[str, str] = {}
    for number, message in enumerate(messages):
        content = message.content if isinstance(message.content, list) else [message.content]
        for index, block in enumerate(content):
            place = f".{number}.content" + (f".{index}" if isinstance(message.content, list) else "")
            texts[place] = block if isinstance(block, str) else block.text
    return texts


def _check_source(grader: PythonGrader, param: str) -> None:
    problems = python_problems(grader.source)
    if problems:
        first = problems[0]
        raise GraderInvalid(_join(param, "source"), f"line {first['line']}: {first['message']}")


def _check_score(grader: ScoreModelGrader, param: str) -> None:
    low, high = grader.range
    if not low < high:
        raise GraderInvalid(_join(param, "range"), f"the first must be below the second: {low}, {high}")


def _check_labels(grader: LabelModelGrader, param: str) -> None:
    strange = [label for label in grader.passing_labels if label not in grader.labels]
    if strange:
        raise GraderInvalid(_join(param, "passing_labels"), f"{strange[0]!r} is none of the labels")


def _check_rubric(grader: RubricGrader, param: str) -> None:
    names = [criterion.name for criterion in grader.criteria]
    for number, criterion in enumerate(grader.criteria):
        place = _join(param, f"criteria.{number}")
        if names.index(criterion.name) != number:
            raise GraderInvalid(f"{place}.name", f"two criteria are named {criterion.name!r}")
        if criterion.grader:
            _check(criterion.grader, f"{place}.grader")


def _check_context(grader: RankingGrader, param: str) -> None:
    pieces = parse_template(grader.context).pieces
    if any(not isinstance(piece, str) and piece.namespace == "sample" for piece in pieces):
        raise GraderInvalid(_join(param, "context"), "a group shares it: it may name item alone")


def _check_multi(grader: MultiGrader, param: str) -> None:
    if len(grader.graders) > MAX_PARTS:
        found = len(grader.graders)
        raise GraderInvalid(_join(param, "graders"), f"at most {MAX_PARTS} graders, found {found}")
    for name, part in grader.graders.items():
        place = _join(param, f"graders.{name}")
        if not (name.isidentifier() and name.isascii()) or name in FUNCTIONS:
            raise GraderInvalid(place, "a formula cannot use this name; take letters, digits and _")
        _check(part, place)
    _check_formula(grader, _join(param, "calculate_output"))


def _check_formula(grader: MultiGrader, param: str) -> None:
    try:
        formula = parse_formula(grader.calculate_output)
    except FormulaInvalid as error:
        raise GraderInvalid(param, str(error)) from error
    unknown = sorted(formula.names - grader.graders.keys())
    if unknown:
        known = ", ".join(grader.graders)
        raise GraderInvalid(param, f"unknown name {unknown[0]!r}; the graders are {known}")


def _by(checked: Callable[[Any], None]) -> Callable[[Any, str], None]:
    """A kind's own check, which names fields from the grader's place on."""

    def check_at(grader: Any, param: str) -> None:
        try:
            checked(grader)
        except GraderInvalid as error:
            raise GraderInvalid(_join(param, error.param), error.message) from error

    return check_at


CHECKS: dict[type, Callable[[Any, str], None]] = {
    JsonSchemaGrader: _by(json_schema.check),
    RegexGrader: _by(regex.check),
    SqlGrader: _by(sql.check),
    PythonGrader: _check_source,
    ScoreModelGrader: _check_score,
    LabelModelGrader: _check_labels,
    RubricGrader: _check_rubric,
    RankingGrader: _check_context,
    MultiGrader: _check_multi,
}
