"""Definitions of graders, one class per type, and their unions. ``workers.grading.kinds`` runs them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.contract.json_types import JsonObject
from workers.contract.schema import Frozen

MAX_PYTHON_SOURCE_BYTES = 256_000


# --- OpenAI's types: its schemas, names and meaning ------------------------------------------------


class StringCheckGrader(Frozen):
    """1 if ``operation`` holds between the two filled templates, else 0."""

    type: Literal["string_check"] = "string_check"
    name: str = "grader"
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


SimilarityMetric = Literal[
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
]


class TextSimilarityGrader(Frozen):
    """A similarity between 0 and 1 of the two filled templates."""

    type: Literal["text_similarity"] = "text_similarity"
    name: str = "grader"
    input: str
    reference: str
    evaluation_metric: SimilarityMetric


class PythonGrader(Frozen):
    """``source`` defines ``grade(sample, item) -> float``; it runs in the sandbox only."""

    type: Literal["python"] = "python"
    name: str = "grader"
    source: str
    image_tag: str | None = None


class ContentBlock(Frozen):
    """A piece of a judge's message. Images and sound cannot be graded here and are refused."""

    type: Literal["input_text", "output_text"] = "input_text"
    text: str


class JudgeMessage(Frozen):
    """A message template for a judge."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | ContentBlock | list[str | ContentBlock]
    type: Literal["message"] = "message"


class SamplingParams(Frozen):
    """Sampling of a judge, under OpenAI's names; the endpoint decides on absent fields."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    max_completions_tokens: int | None = Field(default=None, ge=1)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None


class ScoreModelGrader(Frozen):
    """A judge gives a number, which is clamped to ``range``."""

    type: Literal["score_model"] = "score_model"
    name: str = "grader"
    model: str
    input: list[JudgeMessage] = Field(min_length=1)
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: SamplingParams | None = None


class LabelModelGrader(Frozen):
    """A judge chooses one of ``labels``: 1 if it is among ``passing_labels``, else 0."""

    type: Literal["label_model"] = "label_model"
    name: str = "grader"
    model: str
    input: list[JudgeMessage] = Field(min_length=1)
    labels: list[str] = Field(min_length=1)
    passing_labels: list[str]
    sampling_params: SamplingParams | None = None


# --- Groove's own types ----------------------------------------------------------------------------


class FieldScore(Frozen):
    """Comparison of one field of a JSON completion with the reference."""

    weight: float = Field(default=1.0, gt=0)
    compare: Literal["exact", "text", "number", "fuzzy"] = "exact"
    tolerance: float = Field(default=0.0, ge=0, description="for number: greatest absolute difference")


class JsonSchemaGrader(Frozen):
    """0 unless ``input`` is JSON that satisfies ``json_schema``; else 1, or the weighted share of fields.

    ``fields`` maps paths (``total``, ``lines[0].price``) to how each is compared with ``reference``, a
    template that fills to JSON. With ``fenced``, the JSON may be in a fenced block, among other text.
    """

    type: Literal["json_schema"] = "json_schema"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    json_schema: JsonObject
    fenced: bool = False
    reference: str | None = None
    fields: dict[str, FieldScore] = {}


class RegexGrader(Frozen):
    """1 if ``pattern`` matches ``input``; with ``reference``, if the captured ``group`` equals it."""

    type: Literal["regex"] = "regex"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    pattern: str = Field(max_length=2000)
    match: Literal["search", "fullmatch"] = "search"
    flags: list[Literal["ignorecase", "multiline", "dotall"]] = []
    reference: str | None = None
    group: int | str = 1


class MathGrader(Frozen):
    """1 if the final answer of ``input`` is mathematically equal to ``reference``."""

    type: Literal["math"] = "math"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    reference: str


class SqlGrader(Frozen):
    """1 if ``input``, a query, gives what ``reference`` gives on every one of ``databases``.

    Each database is an SQL script that builds it. A second one defeats completions that only contain the
    result on the first. ``partial`` is the reward of a query that runs and differs.
    """

    type: Literal["sql"] = "sql"
    name: str = "grader"
    input: str = "{{sample.output_text}}"
    reference: str
    databases: list[str] = Field(min_length=1, max_length=4)
    partial: float = Field(default=0.0, ge=0, lt=1)


_Code = (
    StringCheckGrader
    | TextSimilarityGrader
    | PythonGrader
    | JsonSchemaGrader
    | RegexGrader
    | MathGrader
    | SqlGrader
)
CodeGrader = Annotated[_Code, Field(discriminator="type")]


class Criterion(Frozen):
    """One yes-or-no criterion: code (``grader``, met from ``threshold`` up) or a ``question`` to the judge.

    A ``required`` one that is not met makes the whole 0.
    """

    name: str
    weight: float = Field(default=1.0, gt=0)
    required: bool = False
    grader: CodeGrader | None = None
    threshold: float = 1.0
    question: str | None = None

    @model_validator(mode="after")
    def _code_or_question(self) -> Criterion:
        if (self.grader is None) == (self.question is None):
            raise ValueError("a criterion has either a grader or a question")
        return self


class RubricGrader(Frozen):
    """The weighted share of criteria that are met; code first, then one call to the judge for all questions.

    ``input`` shows the judge the completion.
    """

    type: Literal["rubric"] = "rubric"
    name: str = "grader"
    criteria: list[Criterion] = Field(min_length=1, max_length=32)
    model: str | None = None
    input: list[JudgeMessage] = []
    sampling_params: SamplingParams | None = None

    @model_validator(mode="after")
    def _judge_if_asked(self) -> RubricGrader:
        if any(criterion.question for criterion in self.criteria) and not (self.model and self.input):
            raise ValueError("questions need a model and an input that shows it the answer")
        return self


class RankingGrader(Frozen):
    """A judge compares all completions of one prompt with each other; rewards are relative to that group.

    ``context`` shows the judge the task, from the row alone. ``canary`` is a known bad completion that is
    added to ``canary_share`` of the groups, where it must be ranked last.
    """

    type: Literal["ranking"] = "ranking"
    name: str = "grader"
    model: str
    rubric: str = Field(min_length=1, description="what makes a completion better")
    context: str = ""
    method: Literal["listwise", "knockout", "round_robin"] = "listwise"
    canary: str | None = None
    canary_share: float = Field(default=0.02, ge=0, le=1)
    sampling_params: SamplingParams | None = None


class EnvironmentGrader(Frozen):
    """The reward of an episode by its own environment; missing for a completion that was not played."""

    type: Literal["environment"] = "environment"
    name: str = "grader"


SimpleGrader = Annotated[
    _Code | ScoreModelGrader | LabelModelGrader | RubricGrader | RankingGrader | EnvironmentGrader,
    Field(discriminator="type"),
]


class MultiGrader(Frozen):
    """``calculate_output``, a formula over the rewards of ``graders``, keyed by variable name."""

    type: Literal["multi"] = "multi"
    name: str = "grader"
    graders: dict[str, SimpleGrader] = Field(min_length=1)
    calculate_output: str


Grader = Annotated[SimpleGrader | MultiGrader, Field(discriminator="type")]
