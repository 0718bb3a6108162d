"""The context in which graders of every kind are opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property

from workers.contract.graders import Grader
from workers.grading.judge import Judges
from workers.grading.judge.cache import VerdictCache
from workers.grading.judge.client import Judge
from workers.grading.results import Grade, Limits
from workers.outbound.loop import Loop


@dataclass
class GradingContext:
    """The job's seed and limits, its judges, and the stack that closes what is opened.

    ``open_kind`` opens a grader of any kind. It is passed in, so that kinds with parts need not import it.
    """

    seed: int
    limits: Limits
    judges: Judges
    stack: ExitStack
    open_kind: Callable[[Grader, GradingContext], Grade]
    _judges_by_model: dict[str, Judge] = field(default_factory=dict, init=False)

    def open(self, grader: Grader) -> Grade:
        """Return the grader, ready to grade batches until the stack is closed."""
        return self.open_kind(grader, self)

    def judge(self, model: str) -> Judge:
        """Return the judge of this name, one for all parts of a grader. Raises ``GradingUnavailable``."""
        if model not in self._judges_by_model:
            endpoint, key = self.judges.endpoint(model), self.judges.keys.get(model, "")
            if not self._judges_by_model:
                self.stack.callback(self._loop.close)
            judge = Judge(model, endpoint, key, self._cache, self._loop)
            self.stack.callback(judge.close)
            self._judges_by_model[model] = judge
        return self._judges_by_model[model]

    @cached_property
    def _loop(self) -> Loop:
        return Loop("judges")

    @cached_property
    def _cache(self) -> VerdictCache:
        cache = VerdictCache(self.judges.cache)
        self.stack.callback(cache.close)
        return cache
