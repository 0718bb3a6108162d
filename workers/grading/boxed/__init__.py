"""Sources of ours that read hostile text, or run what a team wrote: they work in the sandbox.

``mathematics``, ``sql`` and ``json_schema`` are such sources. Each defines ``grade(sample, item)``:
``sample["output_text"]`` is the filled ``input``, ``item`` holds the filled ``reference``; it returns a whole
verdict. What stays the same for all answers stands in its line ``CONFIG``. Of ours it sees the modules of
``MODULES`` alone, whose texts go with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from workers.contract.graders import JsonSchemaGrader, MathGrader, SqlGrader
from workers.grading.context import GradingContext
from workers.grading.results import Grade, GradeResult, GradingFault, Subject
from workers.grading.sample import TOO_DEEP
from workers.grading.sandbox import open_sandbox
from workers.grading.sandbox.batches import grade_in
from workers.grading.template import Template, parse_template

MAX_CHARACTERS = 65_536
# What each source imports of ours, in an order in which they can be loaded.
MODULES = {
    "mathematics": ("thoughts", "boxed.final_answer", "boxed.quantities", "boxed.values", "boxed.equality"),
    "sql": ("thoughts", "fences"),
    "json_schema": ("thoughts", "fences"),
}
# No line of it ends in a frame that a person is shown.
_BUNDLE = """
import sys, types
for name in ("workers", "workers.grading", "workers.grading.boxed"):
    sys.modules[name] = types.ModuleType(name)
for name, text in {texts!r}.items():
    sys.modules[name] = types.ModuleType(name)
    exec(compile(text, "<string>", "exec"), sys.modules[name].__dict__)
"""
CONFIG_LINE = "CONFIG: dict[str, Any] = {}"
REMEDY = "make the grader or the row's reference simpler"


def open_source(
    source: str,
    config: Mapping[str, Any],
    grader: JsonSchemaGrader | MathGrader | SqlGrader,
    context: GradingContext,
    *,
    harmless: str | None = None,
) -> Grade:
    """A batch grader on a sandbox that holds the file ``source``.

    Time, memory or a crash is an answer's fault if a ``harmless`` one in its place is graded well.
    Raises ``GradingUnavailable``.
    """
    limits = replace(context.limits, verdicts=True)
    sandbox = context.stack.enter_context(open_sandbox(_source(source, config), limits))
    reference = None if grader.reference is None else parse_template(grader.reference)
    run = grade_in(sandbox, context.seed)
    return _Boxed(grader.type, parse_template(grader.input), reference, run, harmless)


def _source(name: str, config: Mapping[str, Any]) -> str:
    folder = resources.files("workers.grading")
    texts = {
        f"workers.grading.{module}": folder.joinpath(f"{module.replace('.', '/')}.py").read_text()
        for module in MODULES[name]
    }
    text = folder.joinpath("boxed", f"{name}.py").read_text()
    return _BUNDLE.format(texts=texts) + text.replace(
        CONFIG_LINE, f"import json; CONFIG = json.loads({json.dumps(config)!r})"
    )


@dataclass(frozen=True)
class _Boxed:
    """Fills the templates here, grades in the sandbox."""

    kind: str
    input: Template
    reference: Template | None
    run: Grade
    harmless: str | None

    def __call__(self, subjects: Sequence[Subject]) -> list[GradeResult]:
        filled = [self._filled(subject) for subject in subjects]
        told = iter(self.run([one for one in filled if isinstance(one, Subject)]))
        return [self._read(one, next(told)) if isinstance(one, Subject) else one for one in filled]

    def _filled(self, subject: Subject) -> Subject | GradeResult:
        """What the source is told, or why it need not be asked."""
        try:
            item: dict[str, Any] = {}
            if self.reference:
                item["reference"] = self.reference.fill_within(MAX_CHARACTERS, subject, self.kind)
            return Subject(self.input.fill_within(MAX_CHARACTERS, subject, self.kind), item)
        except GradingFault as fault:
            return fault.result(0.0)
        except RecursionError:
            return GradingFault("other_error", f"the row is {TOO_DEEP}").result(0.0)

    def _read(self, told: Subject, result: GradeResult) -> GradeResult:
        if result.error_class is None:
            return replace(result, explanation=result.error_detail or "", error_detail=None)
        if result.error_class != "python_grader_runtime_error":
            return result
        said = (result.error_detail or "").split("\nTraceback")[0]  # through lines of ours, which tell nobody
        if self._others_are_well(told):
            detail = f"{self.kind} cannot grade this answer: {said}"
            return replace(result, reward=0.0, error_class="unresponsive_reward_error", error_detail=detail)
        detail = f"{self.kind} failed; {REMEDY}: {said}"
        return replace(result, error_class="other_error", error_detail=detail)

    def _others_are_well(self, told: Subject) -> bool:
        """Whether grader and row are well, so that the answer is at fault."""
        return (
            self.harmless is not None and self.run([replace(told, text=self.harmless)])[0].reward is not None
        )
