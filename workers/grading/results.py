"""Results of grading, and its errors.

A fault of the *sample* (text that is not JSON, a field that the model did not write) earns 0.0 with its error
class, so that training continues and learns from it. A fault of the *grader* leaves the reward missing
(``None``): nothing is known about the sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict

from workers.contract.events import GradingErrorClass
from workers.contract.json_types import JsonObject
from workers.grading.sample import sample_fields


@dataclass(frozen=True)
class Limits:
    """Limits of Python source in the sandbox.

    ``memory_bytes`` is address space. Of the text that an item prints, ``stdout_characters`` are kept; more
    than ``printed_characters`` is an error. A process enforces its time limits itself; the host kills it
    ``grace_seconds`` later. With ``verdicts``, for Groove's own sources, ``grade`` returns a whole verdict
    (the fields of ``pool.Outcome``) instead of a number.
    """

    item_seconds: float = 5.0
    load_seconds: float = 30.0
    grace_seconds: float = 1.0
    memory_bytes: int = 2 << 30
    printed_characters: int = 1 << 20
    stdout_characters: int = 4096
    detail_characters: int = 4096
    batch_items: int = 64
    reply_bytes: int = 1 << 18
    verdicts: bool = False


@dataclass(frozen=True)
class GradeResult:
    """The grade of a completion.

    ``seconds`` is the time of grading, ``stdout`` the text that Python source printed, ``explanation`` the
    reasons that a judge or one of Groove's graders gives, ``usage`` the tokens by model. ``cached`` if every
    verdict came from the cache.
    """

    reward: float | None
    sub_rewards: dict[str, float | None] = field(default_factory=dict)
    error_class: GradingErrorClass | None = None
    error_detail: str | None = None
    seconds: float = 0.0
    stdout: str = ""
    explanation: str = ""
    usage: dict[str, TokenUsage] = field(default_factory=dict)
    cached: bool = False


class TokenUsage(TypedDict):
    """Tokens that a model read and wrote; ``cost`` by the endpoint's prices."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int
    cost: float


def add_usage(usage: Sequence[TokenUsage]) -> TokenUsage:
    """Return the sum of several uses."""
    return {
        "prompt_tokens": sum(each["prompt_tokens"] for each in usage),
        "completion_tokens": sum(each["completion_tokens"] for each in usage),
        "cached_tokens": sum(each["cached_tokens"] for each in usage),
        "total_tokens": sum(each["total_tokens"] for each in usage),
        "cost": sum(each["cost"] for each in usage),
    }


def join_explanations(parts: Mapping[str, GradeResult]) -> str:
    """Return the explanations of a grader's parts, one a line, each with the part's name."""
    return "\n".join(f"{name}: {part.explanation}" for name, part in parts.items() if part.explanation)


class GradingUnavailable(Exception):
    """This machine cannot run the grader. ``remedy`` tells its operator what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.reason, self.remedy = reason, remedy


class GraderInvalid(ValueError):
    """The definition is invalid. ``param`` is the field's dotted path."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.param, self.message = param, message


@contextmanager
def errors_below(path: str) -> Iterator[None]:
    """Prefix the path of a ``GraderInvalid`` that is raised inside."""
    try:
        yield
    except GraderInvalid as error:
        param = f"{path}.{error.param}" if error.param else path
        raise GraderInvalid(param, error.message) from error


class GradingFault(Exception):
    """One completion could not be graded; ``of_sample`` if it is at fault itself."""

    def __init__(self, error_class: GradingErrorClass, detail: str, *, of_sample: bool = False) -> None:
        super().__init__(detail)
        self.error_class, self.detail, self.of_sample = error_class, detail, of_sample

    def result(self, seconds: float) -> GradeResult:
        """Return the result of the completion, graded in so many seconds."""
        reward = 0.0 if self.of_sample else None
        return GradeResult(reward, error_class=self.error_class, error_detail=self.detail, seconds=seconds)


@dataclass(frozen=True)
class Subject:
    """A completion with the fields of its row. Completions of one prompt share a ``group``."""

    text: str
    item: JsonObject
    group: str = ""

    @property
    def sample(self) -> dict[str, object]:
        """The namespace ``sample`` of templates and Python graders."""
        return sample_fields(self.text)


Grade = Callable[[Sequence[Subject]], list[GradeResult]]


def one_by_one(score: Callable[[Subject], float | tuple[float, str]]) -> Grade:
    """Turn a function for one subject into a batch grader; an error affects its subject only.

    ``score`` returns the reward, or the reward and its explanation.
    """

    def grade(subject: Subject) -> GradeResult:
        started = time.perf_counter()
        try:
            scored = score(subject)
            reward, explanation = scored if isinstance(scored, tuple) else (scored, "")
            return GradeResult(reward, seconds=time.perf_counter() - started, explanation=explanation)
        except GradingFault as fault:
            return fault.result(time.perf_counter() - started)
        except Exception as error:
            other = GradingFault("other_error", f"{type(error).__name__}: {error}")
            return other.result(time.perf_counter() - started)

    return lambda subjects: [grade(subject) for subject in subjects]
