"""The rollouts of a step: graded, recorded and counted."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from workers.contract.events import Rollout
from workers.engine.episodes.measures import measure_episodes
from workers.engine.prompts.conversations import tidy_tools, tool_names
from workers.engine.prompts.data import Row
from workers.engine.training.rollouts import measures, permuted_rewards
from workers.engine.training.task_balance import compute_advantages
from workers.grading.sample import Completion

if TYPE_CHECKING:
    from workers.engine.episodes.episode import PlayedEpisode
    from workers.engine.prompts.rendering import Renderer
    from workers.grading import GradeAnswers, GradeResult


@dataclass
class Recorder:
    """TRL's reward function (``grader``), which also records what it graded.

    The dataset column ``row`` is an index into ``rows``. A group is the rollouts of one row; its number is
    the index of the row among the step's rows. ``failed`` counts gradings that gave no reward. ``held_out``
    grades at most ``held_out_answers`` completions of a step, in whole groups, and nothing is trained on it.
    With a ``placebo_seed`` the rewards are permuted; ``Rollout.reward`` is the one that was trained on.
    """

    rows: list[Row]
    grade: GradeAnswers
    renderer: Renderer
    eos_ids: list[int]
    rollouts: list[Rollout] = field(default_factory=list)
    grading_seconds: float = 0.0
    failed: int = 0
    results: list[GradeResult] = field(default_factory=list)
    held_out: GradeAnswers | None = None
    held_out_answers: int = 64
    placebo_seed: int | None = None
    completion_ids: list[list[int]] = field(default_factory=list)
    """Tokens of each rollout that the model wrote."""
    _row: list[int] = field(default_factory=list)
    _texts: list[Completion] = field(default_factory=list)

    def grader(
        self,
        completion_ids: list[list[int]],
        row: list[int],
        trainer_state: Any,
        episode: Sequence[PlayedEpisode | None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """Return the rewards that TRL optimises; ``None`` for a whole group if one grade is missing."""
        started = time.perf_counter()
        episodes = episode or [None] * len(row)
        written = [p.written if p else ids for p, ids in zip(episodes, completion_ids, strict=True)]
        self.completion_ids, self._row = written, row
        groups = {i: number for number, i in enumerate(dict.fromkeys(row))}
        prompts = {i: self.renderer.render(self.rows[i].messages, self.rows[i].tools) for i in groups}
        self._texts = texts = [
            played.completion if played else self.renderer.parse(prompts[i], ids)
            for i, ids, played in zip(row, completion_ids, episodes, strict=True)
        ]
        pairs = [(text, self.rows[i].item) for text, i in zip(texts, row, strict=True)]
        self.results = results = self.grade(pairs, [str(i) for i in row])
        self.grading_seconds = time.perf_counter() - started
        self.failed = sum(result.reward is None for result in results)
        missing = {i for i, result in zip(row, results, strict=True) if result.reward is None}
        rewards = [None if i in missing else result.reward for i, result in zip(row, results, strict=True)]
        if self.placebo_seed is not None:
            tasks = [self.rows[i].task for i in row]
            rewards = permuted_rewards.permute(rewards, tasks, self.placebo_seed, trainer_state.global_step)
        self.rollouts = [
            Rollout(
                index=index,
                group=groups[i],
                row_id=self.rows[i].row_id,
                task=self.rows[i].task,
                prompt=prompts[i],
                completion=text,
                reasoning=self.renderer.get_separate_thoughts(text),
                reward=reward,
                sub_rewards=result.sub_rewards,
                error_class=result.error_class,
                error_detail=result.error_detail,
                explanation=result.explanation,
                advantage=None,
                length=len(ids),
                truncated=played.truncated if played else ids[-1] not in self.eos_ids,
                adapter_step=trainer_state.global_step,
                episode=text.episode,
            )
            for index, (i, text, ids, played, result, reward) in enumerate(
                zip(row, texts, written, episodes, results, rewards, strict=True)
            )
        ]
        return rewards

    def list_groups(self) -> list[int]:
        """Return the group of every rollout, in order."""
        return [rollout.group for rollout in self.rollouts]

    def compute_task_advantages(self) -> list[float]:
        """Return the advantages on each task's own scale."""
        tasks = [self.rows[row].task for row in self._row]
        return compute_advantages([rollout.reward for rollout in self.rollouts], self.list_groups(), tasks)

    def set_advantages(self, advantages: list[float]) -> None:
        """Record the advantages that TRL computed from the rewards, in the same order."""
        for rollout, advantage in zip(self.rollouts, advantages, strict=True):
            rollout.advantage = advantage

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the step's rollouts (``docs/metrics.md``)."""
        number = len(self.rollouts)
        values = {
            "groups/no_signal_share": share_without_signal(self.rollouts),
            "groups/informative_share": 1 - share_without_signal(self.rollouts),
            "completions/truncated_share": sum(r.truncated for r in self.rollouts) / number,
            "grading/error_share": self.failed / number,
            "grading/missing_share": sum(r.reward is None for r in self.rollouts) / number,
            "time/grading": self.grading_seconds,
        }
        for name in dict.fromkeys(name for r in self.rollouts for name in r.sub_rewards):
            scores = [s for r in self.rollouts if (s := r.sub_rewards.get(name)) is not None]
            if scores:
                values[f"rewards/{name}/mean"] = sum(scores) / len(scores)
        values |= self._completion_metrics() | self._episode_metrics()
        held_out = self._grade_held_out()  # before the tasks' metrics, which contain its rewards
        return values | self._task_metrics() | held_out | self._judge_metrics()

    def _completion_metrics(self) -> dict[str, float]:
        """Return similarity, repetition and the correlation of length and reward."""
        graded = [(r.length, r.reward) for r in self.rollouts if r.reward is not None]
        several = len(set(self.list_groups())) > 1
        values = {
            "groups/reward_std": measures.within_group_std(
                self.list_groups(), [rollout.reward for rollout in self.rollouts]
            ),
            "rewards/most_common_share": measures.most_common_share(reward for _, reward in graded),
            "answers/repetition": measures.known_mean(map(measures.repetition, self.completion_ids)),
            "answers/template_share": measures.most_common_share(
                measures.opening(rollout.completion) for rollout in self.rollouts if several
            ),
            "answers/length_reward_correlation": measures.Moments.from_pairs(graded).correlation,
        }
        return {name: value for name, value in values.items() if value is not None}

    def _episode_metrics(self) -> dict[str, float]:
        """Return the metrics of the step's episodes; empty if it has none."""
        played = [(r.row_id, r.episode) for r in self.rollouts if r.episode is not None]
        tools = dict.fromkeys(
            name
            for rollout, row in zip(self.rollouts, self._row, strict=True)
            if rollout.episode is not None
            for name in tool_names(tidy_tools(self.rows[row].tools))
        )
        return measure_episodes(played, list(tools))

    def _task_metrics(self) -> dict[str, float]:
        """Return the same few metrics for each of several tasks."""
        members: dict[str, list[Rollout]] = {}
        for rollout in self.rollouts:
            if rollout.task:
                members.setdefault(rollout.task, []).append(rollout)
        return {
            f"tasks/{task}/{name}": value
            for task, rollouts in members.items()
            for name, value in self._describe_task(rollouts).items()
        }

    def _describe_task(self, rollouts: list[Rollout]) -> dict[str, float]:
        groups, rewards = [r.group for r in rollouts], [r.reward for r in rollouts]
        values = {
            "reward": measures.known_mean(rewards),
            "reward_std": measures.within_group_std(groups, rewards),
            "no_signal_share": share_without_signal(rollouts),
            "mean_length": measures.known_mean(float(r.length) for r in rollouts),
            "truncated_share": measures.known_mean(float(r.truncated) for r in rollouts),
            "missing_share": measures.known_mean(float(r.reward is None) for r in rollouts),
            "held_out_reward": measures.known_mean(r.held_out_reward for r in rollouts),
        }
        return {name: value for name, value in values.items() if value is not None}

    def _grade_held_out(self) -> dict[str, float]:
        """Grade every n-th group with the held-out grader and return its metrics; empty without one."""
        if self.held_out is None:
            return {}
        started = time.perf_counter()
        every = math.ceil(len(self.rollouts) / self.held_out_answers)
        rollouts = [rollout for rollout in self.rollouts if rollout.group % every == 0]
        pairs = [(self._texts[r.index], self.rows[self._row[r.index]].item) for r in rollouts]
        results = self.held_out(pairs, [str(self._row[r.index]) for r in rollouts])
        for rollout, result in zip(rollouts, results, strict=True):
            rollout.held_out_reward = result.reward
        self.results = [*self.results, *results]
        known = [result.reward for result in results if result.reward is not None]
        values = {
            "time/held_out": time.perf_counter() - started,
            "held_out/error_share": 1 - len(known) / len(results),
        }
        if known:
            values |= {"held_out/reward": fmean(known), "held_out/reward_std": pstdev(known)}
        return values

    def _judge_metrics(self) -> dict[str, float]:
        """Return the tokens and cost of the step's judges; empty without a judge."""
        used = [(model, usage) for result in self.results for model, usage in result.usage.items()]
        values: dict[str, float] = {}
        for model, usage in used:
            for quantity, number in usage.items():
                name = f"judge/{model}/{quantity}"
                values[name] = values.get(name, 0.0) + float(number)  # type: ignore[arg-type]
        cached = sum(result.cached for result in self.results)
        if used or cached:
            values["judge/cached_share"] = cached / len(self.results)
        return values

    def count_tokens(self) -> int:
        """Return the number of tokens that the policy wrote in this step."""
        return sum(rollout.length for rollout in self.rollouts)

    def first_failure(self) -> str:
        """Describe one failed grading, for the log; empty if none failed."""
        for rollout in self.rollouts if self.failed else []:
            if rollout.reward is None and rollout.error_class is not None:
                return f"{rollout.error_class} on row {rollout.row_id}: {rollout.error_detail or ''}"
        return ""


def find_groups_without_signal(rollouts: Sequence[Rollout]) -> set[int]:
    """Return the groups whose rewards are all equal or missing: they teach nothing."""
    rewards: dict[int, set[float | None]] = {}
    for rollout in rollouts:
        rewards.setdefault(rollout.group, set()).add(rollout.reward)
    return {group for group, values in rewards.items() if len(values) == 1}


def share_without_signal(rollouts: Sequence[Rollout]) -> float:
    """Return the share of groups that teach nothing."""
    return len(find_groups_without_signal(rollouts)) / len({rollout.group for rollout in rollouts})
