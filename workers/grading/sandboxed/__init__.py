"""Groove's own graders that run in the sandbox, because they read hostile text or run a team's queries.

Each file with a function ``grade(sample, item)`` is the source of one kind: ``sample["output_text"]`` is the
filled ``input``, ``item`` holds the filled ``reference``, and it returns a whole verdict. Its line ``CONFIG``
holds what is the same for all answers. Inside the sandbox it can import its ``modules`` and no other module
of Groove.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Protocol

from workers.contract.json_types import JsonObject
from workers.grading.context import GradingContext
from workers.grading.results import Grade, GradeResult, GradingFault, Subject
from workers.grading.sample import TOO_DEEP
from workers.grading.sandbox import open_sandbox
from workers.grading.sandbox.batches import grade_in
from workers.grading.template import Template, parse_template

MAX_CHARACTERS = 65_536
# Compiled as "<string>", so that no frame of these modules appears in a traceback.
_BUNDLE = """
import sys, types
for name in ("workers", "workers.grading", "workers.grading.sandboxed"):
    sys.modules[name] = types.ModuleType(name)
for name, text in {texts!r}.items():
    sys.modules[name] = types.ModuleType(name)
    exec(compile(text, "<string>", "exec"), sys.modules[name].__dict__)
"""
CONFIG_LINE = "CONFIG: Any = {}"
REMEDY = "make the grader or the row's reference simpler"


class SandboxedGrader(Protocol):
    """Definitions whose kinds run in the sandbox have these fields."""

    @property
    def type(self) -> str: ...
    @property
    def input(self) -> str: ...
    @property
    def reference(self) -> str | None: ...


@dataclass(frozen=True)
class Source:
    """A file of this package. ``modules`` of ``workers.grading`` go with it, in an order that loads.

    Time, memory or a crash is an answer's fault if a ``harmless`` one in its place is graded well.
    """

    file: str
    modules: tuple[str, ...]
    harmless: str | None = None

    def text(self, config: Mapping[str, object]) -> str:
        """Return the Python source that the sandbox runs."""
        folder = resources.files("workers.grading")
        texts = {
            f"workers.grading.{module}": folder.joinpath(f"{module.replace('.', '/')}.py").read_text()
            for module in self.modules
        }
        text = folder.joinpath("sandboxed", self.file).read_text()
        return _BUNDLE.format(texts=texts) + text.replace(
            CONFIG_LINE, f"import json; CONFIG = json.loads({json.dumps(config)!r})"
        )


def open_source(
    source: Source, grader: SandboxedGrader, context: GradingContext, config: Mapping[str, object]
) -> Grade:
    """Return a batch grader on a sandbox that holds the source. Raises ``GradingUnavailable``."""
    limits = replace(context.limits, verdicts=True)
    sandbox = context.stack.enter_context(open_sandbox(source.text(config), limits))
    reference = None if grader.reference is None else parse_template(grader.reference)
    run = grade_in(sandbox, context.seed)
    return _Sandboxed(grader.type, parse_template(grader.input), reference, run, source.harmless)


@dataclass(frozen=True)
class _Sandboxed:
    """Fills the templates here and grades in the sandbox."""

    kind: str
    input: Template
    reference: Template | None
    run: Grade
    harmless: str | None

    def __call__(self, subjects: Sequence[Subject]) -> list[GradeResult]:
        filled = [self._fill(subject) for subject in subjects]
        results = iter(self.run([one for one in filled if isinstance(one, Subject)]))
        return [self._explain(one, next(results)) if isinstance(one, Subject) else one for one in filled]

    def _fill(self, subject: Subject) -> Subject | GradeResult:
        """Return the filled templates, or the result if they cannot be filled."""
        try:
            item: JsonObject = {}
            if self.reference:
                item["reference"] = self.reference.fill_within(MAX_CHARACTERS, subject, self.kind)
            return Subject(self.input.fill_within(MAX_CHARACTERS, subject, self.kind), item)
        except GradingFault as fault:
            return fault.result(0.0)
        except RecursionError:
            return GradingFault("other_error", f"the row is {TOO_DEEP}").result(0.0)

    def _explain(self, filled: Subject, result: GradeResult) -> GradeResult:
        """Return the result with its explanation, or with an error that says who is at fault."""
        if result.error_class is None:
            return replace(result, explanation=result.error_detail or "", error_detail=None)
        if result.error_class != "python_grader_runtime_error":
            return result
        error = (result.error_detail or "").split("\nTraceback")[0]  # without Groove's own lines
        if self._grades_harmless(filled):
            detail = f"{self.kind} cannot grade this answer: {error}"
            return replace(result, reward=0.0, error_class="unresponsive_reward_error", error_detail=detail)
        detail = f"{self.kind} failed; {REMEDY}: {error}"
        return replace(result, error_class="other_error", error_detail=detail)

    def _grades_harmless(self, filled: Subject) -> bool:
        """Return True if a harmless completion to the same row is graded, so that this one is at fault."""
        if self.harmless is None:
            return False
        return self.run([replace(filled, text=self.harmless)])[0].reward is not None
