"""The rules: code, kind, message, threshold, remedy, metrics and the function that finds evidence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from workers.contract.health import hacking, learning
from workers.contract.health.history import HELD_OUT, HELD_OUT_SPREAD, REWARD, SPREAD, History, Limits

Evidence = dict[str, float]
Kind = Literal["stop", "hacking", "learning", "fault"]


@dataclass(frozen=True)
class Rule:
    """``evidence`` returns measurements if the rule fires, else ``None``; ``names`` are its metrics.

    A ``stop`` always pauses the job, ``hacking`` if the team's settings say so, the other kinds never.
    """

    code: str
    kind: Kind
    message: str
    threshold: str
    remedy: str
    names: tuple[str, ...]
    evidence: Callable[[History], Evidence | None]


@dataclass(frozen=True)
class Finding:
    """A rule that fires, with its evidence."""

    rule: Rule
    evidence: Evidence
    limits: Limits

    @property
    def threshold(self) -> str:
        """Condition of the rule, as text."""
        entropy, steps = f"{self.limits.least_entropy:g}", self.limits.no_signal_steps
        return self.rule.threshold.format(least_entropy=entropy, no_signal_steps=steps)

    @property
    def summary(self) -> str:
        """The evidence in one line."""
        return "; ".join(f"{name}: {value:.4g}" for name, value in self.evidence.items())


def find_alarms(history: History) -> list[Finding]:
    """Return the rules that fire, the most severe first; none below three steps."""
    if len(history.steps) < learning.LEAST:
        return []
    found = ((rule, rule.evidence(history)) for rule in RULES)
    return [Finding(rule, evidence, history.limits) for rule, evidence in found if evidence is not None]


_READ = "Read the example rollouts. If the completions are no better, "

RULES: tuple[Rule, ...] = (
    Rule(
        "entropy_collapse", "stop",
        "The model has stopped exploring: its completions are always the same, so it cannot learn more.",
        "entropy below {least_entropy} nats per token in each of 10 steps in a row",
        "Launch a clone with a lower learning rate, a higher temperature or beta above 0. If the task is "
        "solved, stop here; resume to train on nevertheless.",
        ("entropy",), learning.entropy_collapse,
    ),
    Rule(
        "no_signal_at_all", "stop",
        "No group had any spread of rewards for many steps: nothing is learned while this lasts.",
        "all groups without signal in {no_signal_steps} steps in a row",
        "If the mean reward is high, the task is solved: stop here. If it is low, give partial credit in the "
        "grader, choose easier rows, or teach the format by examples first (SFT). A higher temperature or a "
        "larger group finds rarer completions.",
        ("groups/no_signal_share",), learning.no_signal_at_all,
    ),
    Rule(
        "held_out_gap", "hacking",
        "The trained reward rises, while the held-out grader, which is never trained against, does not.",
        "trained reward up by 0.3 standard deviations and 4 standard errors; held-out reward up by at most "
        "0.1 (or a fifth of the trained one's rise, where that is more) in 3 checks of 5 steps in a row",
        _READ + "close the loophole in the grader, save a new version and launch a clone; the checkpoint "
        "before the rise is the last good one.",
        (REWARD, HELD_OUT), hacking.held_out_gap,
    ),
    Rule(
        "length_explains_reward", "hacking",
        "The reward rises, but completions of equal length earn no more than before: length explains it.",
        "reward up by 0.3 standard deviations and 4 standard errors since steps 1 to 5; at equal length by "
        "at most a quarter of that",
        _READ + "keep the grader from paying for length (a bound, a penalty), and launch a clone.",
        ("gain/raw", "gain/length_matched", "completions/mean_length"), hacking.length_explains,
    ),
    Rule(
        "sub_reward_jump", "hacking",
        "One sub-reward jumped while the others did not: often the model found a shortcut.",
        "mean of 3 steps above that of the 10 before by 0.25 and by 4 of their standard deviations; no other "
        "sub-reward changes half as much",
        _READ + "close the loophole in that sub-reward or give it less weight, and launch a clone.",
        ("rewards/*/mean",), hacking.sub_reward_jump,
    ),
    Rule(
        "repetition", "hacking",
        "Completions repeat themselves more and more.",
        "share of repeated token triples up by 0.15 since steps 1 to 5, and at least 0.25",
        _READ + "let the grader deduct for repetition, or lower the completion length.",
        ("answers/repetition",),
        hacking.share_grew("answers/repetition", "repeated triples", 0.15, 0.25),
    ),
    Rule(
        "template", "hacking",
        "Almost all completions now begin equally, whatever the prompt.",
        "share of the most common opening (40 characters) up by 0.4 since steps 1 to 5, and at least 0.8",
        _READ + "close the loophole that pays the template, or raise the temperature.",
        ("answers/template_share",),
        hacking.share_grew("answers/template_share", "most common opening", 0.4, 0.8),
    ),
    Rule(
        "overfitting", "learning",
        "Validation stays flat while the training reward rises: overfitting, or a grader that is gamed.",
        "training reward up by 0.3 standard deviations and 4 standard errors over 3 validations, validation "
        "by at most 0.1",
        "Stop at the checkpoint before. Use more rows or more varied ones, fewer epochs or a lower rank, and "
        "read completions to validation rows to see whether the grader is gamed.",
        (REWARD,), learning.overfitting,
    ),
    Rule(
        "saturated_grader", "learning",
        "The reward is saturated: nearly all completions get the same score.",
        "at least 90 % of the completions get the most frequent score, mean of 10 steps, while the task is "
        "not solved",
        "At the top score the task is solved or the grader too easy: choose harder rows or a finer scale. At "
        "the bottom the grader is too strict or the task too hard: give partial credit, or SFT first.",
        ("rewards/most_common_share", REWARD), learning.saturated,
    ),
    Rule(
        "no_signal", "learning",
        "Most groups have equal rewards, so little more is learned.",
        "groups without signal at least 80 %, mean of the last 10 steps, while the task is not solved",
        "Raise the temperature or choose harder rows (easier ones, if most are failed); a larger group finds "
        "rarer completions.",
        ("groups/no_signal_share",), learning.no_signal,
    ),
    Rule(
        "truncation", "learning",
        "More than a tenth of the completions are cut at the length limit, and often earn nothing.",
        "truncated completions at least 10 %, mean of the last 10 steps",
        "Raise the maximum completion length under Advanced, or ask for shorter completions in the prompt.",
        ("completions/truncated_share",),
        learning.mean_above("completions/truncated_share", "truncated completions", 0.1),
    ),
    Rule(
        "low_entropy", "learning",
        "Entropy is nearly 0: the model almost always writes the same completion.",
        "entropy below 0.01 nats per token, mean of the last 10 steps, while the task is not solved",
        "Raise the temperature or lower the learning rate; if validation is good, the job can end here.",
        ("entropy",), learning.low_entropy,
    ),
    Rule(
        "kl_jump", "learning",
        "The policy suddenly moved away from the base.",
        "KL to the base above 0.1 nats per token and 4 times the median of the 10 steps before, in two steps",
        "Read completions of these steps. Lower the learning rate, or set beta to 0.001 or more.",
        ("kl_to_base",), learning.kl_jump,
    ),
    Rule(
        "spread_shrinks", "learning",
        "Episodes of one task earn ever more alike, and the mean reward does not rise: often it falls next.",
        "spread of rewards within groups at most 60 % of that of steps 1 to 5, and no higher mean reward",
        "Read episodes of one group side by side. Lower the learning rate, set beta above 0 or raise the "
        "temperature; continue from a checkpoint before the spread shrank.",
        ("groups/reward_std", REWARD, "episodes/turns"), learning.spread_shrinks,
    ),
    Rule(
        "repeated_call", "learning",
        "The model makes the same tool call again and again within an episode.",
        "share of calls that equal an earlier one of their episode up by 0.15 since steps 1 to 5, and at "
        "least 0.25",
        "Read the example rollouts. Let the environment say that nothing changed, let it deduct for further "
        "calls, or lower the limit of tool calls.",
        ("episodes/repeated_call_share",),
        hacking.share_grew("episodes/repeated_call_share", "repeated tool calls", 0.15, 0.25),
    ),
    Rule(
        "tool_errors", "learning",
        "More and more tool calls fail.",
        "share of failed tool calls up by 0.1 since steps 1 to 5, and at least 0.2",
        "Read the errors in the example rollouts: arguments that the tool refuses, or a tool that raises. "
        "State the allowed values in the tool's description, or correct the tool.",
        ("episodes/tool_error_share",),
        hacking.share_grew("episodes/tool_error_share", "failed tool calls", 0.1, 0.2),
    ),
    Rule(
        "episodes_cut", "learning",
        "Many episodes end at a limit of turns, tool calls or tokens before they are finished.",
        "episodes that a limit ended at least 30 %, mean of the last 10 steps",
        "Raise the limit that most of them reach: turns, tool calls or the completion length; or make the "
        "tasks shorter.",
        ("episodes/cut_share",), learning.mean_above("episodes/cut_share", "episodes ended by a limit", 0.3),
    ),
    Rule(
        "grader_errors", "fault",
        "The grader fails on more than one in twenty completions; their groups teach nothing.",
        "completions without a reward at least 5 %, mean of the last 10 steps",
        "Read the rollouts with errors, correct the grader or its judge, and launch with the new version.",
        ("grading/missing_share", "grading/error_share"),
        learning.mean_above("grading/missing_share", "completions without a reward", 0.05),
    ),
    Rule(
        "logp_gap", "fault",
        "Sampler and trainer disagree on how probable the sampled tokens are: training is not on-policy.",
        "mean gap of their log-probabilities at least 0.05 nats per token, mean of the last 10 steps",
        "Use the same precision in both, or launch without the separate sampler.",
        ("sampling/logp_gap",), learning.mean_above("sampling/logp_gap", "gap, nats per token", 0.05),
    ),
)  # fmt: skip
BY_CODE: dict[str, Rule] = {rule.code: rule for rule in RULES}
_NAMES = {SPREAD, HELD_OUT_SPREAD} | {name for rule in RULES for name in rule.names}


def select_metrics(values: Mapping[str, float]) -> dict[str, float]:
    """Return only the metrics that rules use."""
    return {
        name: value for name, value in values.items() if name in _NAMES or hacking.SUB_REWARD.fullmatch(name)
    }


def list_plotted(rule: Rule, names: Iterable[str]) -> list[str]:
    """Return which of these metrics belong on the rule's chart."""
    patterns = [re.compile(re.escape(name).replace(r"\*", ".+")) for name in rule.names]
    known = (name for name in names if not name.startswith("rewards/grader/"))  # TRL's name for the whole
    return [name for name in known if any(each.fullmatch(name) for each in patterns)]
