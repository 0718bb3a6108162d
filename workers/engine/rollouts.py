"""The rollouts of a step: graded, recorded and counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workers.engine.data import Row, render
from workers.events import Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from workers.grading import GradeAnswers, GradeResult


@dataclass
class Recorder:
    """TRL's reward function (its name there is ``grader``) that remembers what it graded.

    ``rows`` are looked up by the dataset column ``row``; a group is the rollouts of one row, and its number
    is the row's place among the step's rows. ``failed`` counts gradings that gave no reward.
    """

    rows: list[Row]
    grade: GradeAnswers
    tokenizer: PreTrainedTokenizerBase
    eos_ids: list[int]
    rollouts: list[Rollout] = field(default_factory=list)
    grading_seconds: float = 0.0
    failed: int = 0
    results: list[GradeResult] = field(default_factory=list)

    def grader(
        self, completion_ids: list[list[int]], row: list[int], trainer_state: Any, **_: Any
    ) -> list[float | None]:
        """The rewards that TRL optimises; ``None`` for the whole group of an answer that has no grade."""
        started = time.perf_counter()
        texts = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        answers = [(text, self.rows[i].item) for text, i in zip(texts, row, strict=True)]
        self.results = results = self.grade(answers, [str(i) for i in row])
        self.grading_seconds = time.perf_counter() - started
        self.failed = sum(result.reward is None for result in results)
        missing = {i for i, result in zip(row, results, strict=True) if result.reward is None}
        groups = {i: number for number, i in enumerate(dict.fromkeys(row))}
        prompts = {i: render(self.tokenizer, self.rows[i].messages) for i in groups}
        self.rollouts = [
            Rollout(
                index=index,
                group=groups[i],
                row_id=self.rows[i].row_id,
                prompt=prompts[i],
                completion=text,
                reward=None if i in missing else result.reward,
                sub_rewards=result.sub_rewards,
                error_class=result.error_class,
                error_detail=result.error_detail,
                explanation=result.explanation,
                advantage=None,
                length=len(ids),
                truncated=ids[-1] not in self.eos_ids,
                adapter_step=trainer_state.global_step,
            )
            for index, (i, text, ids, result) in enumerate(
                zip(row, texts, completion_ids, results, strict=True)
            )
        ]
        return [rollout.reward for rollout in self.rollouts]

    def groups(self) -> list[int]:
        """The group of every rollout, in order."""
        return [rollout.group for rollout in self.rollouts]

    def set_advantages(self, advantages: list[float]) -> None:
        """What TRL made of the rewards, in the same order."""
        for rollout, advantage in zip(self.rollouts, advantages, strict=True):
            rollout.advantage = advantage

    def metrics(self) -> dict[str, float]:
        """Our metrics of the step, see ``docs/metrics.md``."""
        number = len(self.rollouts)
        values = {
            "groups/no_signal_share": self._no_signal_share(),
            "completions/truncated_share": sum(r.truncated for r in self.rollouts) / number,
            "grading/error_share": self.failed / number,
            "grading/missing_share": sum(r.reward is None for r in self.rollouts) / number,
            "time/grading": self.grading_seconds,
        }
        for name in dict.fromkeys(name for r in self.rollouts for name in r.sub_rewards):
            scores = [s for r in self.rollouts if (s := r.sub_rewards.get(name)) is not None]
            if scores:
                values[f"rewards/{name}/mean"] = sum(scores) / len(scores)
        return values | self._judge_metrics()

    def _judge_metrics(self) -> dict[str, float]:
        """What the step's judges read, wrote and cost; empty without a judge."""
        used = [(model, usage) for result in self.results for model, usage in result.usage.items()]
        values: dict[str, float] = {}
        for model, usage in used:
            for what, number in usage.items():
                name = f"judge/{model}/{what}"
                values[name] = values.get(name, 0.0) + float(number)  # type: ignore[arg-type]
        cached = sum(result.cached for result in self.results)
        if used or cached:
            values["judge/cached_share"] = cached / len(self.results)
        return values

    def _no_signal_share(self) -> float:
        rewards: dict[int, set[float | None]] = {}
        for rollout in self.rollouts:
            rewards.setdefault(rollout.group, set()).add(rollout.reward)
        return sum(len(values) == 1 for values in rewards.values()) / len(rewards)

    def completion_tokens(self) -> int:
        """Tokens that the policy wrote in this step."""
        return sum(rollout.length for rollout in self.rollouts)

    def first_failure(self) -> str:
        """One failed grading in words, for the log; empty if none failed."""
        for rollout in self.rollouts if self.failed else []:
            if rollout.reward is None and rollout.error_class is not None:
                return f"{rollout.error_class} on row {rollout.row_id}: {rollout.error_detail or ''}"
        return ""
