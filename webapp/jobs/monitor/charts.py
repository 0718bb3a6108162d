"""The charts of one job or of several: which there are, and whose lines they draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from webapp.jobs.models import Job

FIRST_CHARTS, MAIN_CHARTS = 2, 12
# (title, metrics by name or pattern, hint); one with + is drawn beside the others, if there are any.
CHARTS = (
    ("Reward", ["reward"], "Mean reward of the step's rollouts: what is optimised."),
    ("Validation reward", ["validation/reward"], "Mean reward on held-out rows that nothing is trained on."),
    ("Held-out grader", ["+reward", "held_out/reward"], "A grader that is never trained against."),
    ("Reward by task", ["tasks/*/reward"], ""),
    ("Reward by grader", ["rewards/*/mean"], "Each grader's own mean."),
    ("Gain", ["gain/raw", "gain/length_matched"], "Reward gain since steps 1–5, raw and at equal length."),
    ("KL to the start", ["kl_to_base"], "How far the policy has moved from its start (k3)."),
    ("Entropy", ["entropy"], "Near 0 the model has stopped exploring."),
    ("Answer length", ["completions/mean_length", "completions/max_length"], "Tokens."),
    ("Groups without signal", ["groups/no_signal_share"], "Groups that all score the same teach nothing."),
    ("Truncated answers", ["completions/truncated_share"], "Cut at the length limit."),
    ("Grading failures", ["grading/error_share", "grading/missing_share"], "Share of rollouts."),
    ("Spread within groups", ["groups/reward_std"], "Without spread a group teaches nothing."),
    ("Repetition and openings", ["answers/repetition", "answers/template_share"], "Shares."),
    ("Length and reward", ["answers/length_reward_correlation"], "Correlation within a step."),
    ("KL estimators", ["kl_to_base", "kl_to_base/*"], "k3, and the noisier k1 and k2; nats per token."),
    ("Adapter", ["adapter/*"], "Norm of the change since the last step."),
    ("Sampler and trainer", ["sampling/logp_gap"], "Gap of log-probabilities, nats per token."),
    ("Judge cost", ["judge/*/cost"], "Money per step, by the endpoint's prices."),
    ("Judge tokens", ["judge/*/total_tokens"], "Read and written, per step."),
    ("Learning rate", ["learning_rate"], ""),
    ("Gradient norm", ["grad_norm"], ""),
    ("Seconds per step", ["step_time", "time/*"], ""),
    ("Tokens per second", ["tokens_per_second"], ""),
    ("Device busy", ["device/busy"], "Share of the time: of the GPU, or of the job's CPU threads."),
    ("Memory", ["memory/*"], "GiB at most so far: of the GPU, or of the process on a CPU."),
    ("Loss", ["loss"], "Of SFT: nats per token of the demonstrations."),
    ("Token accuracy", ["mean_token_accuracy"], "Of SFT: the demonstration's token is the likeliest."),
)  # fmt: skip


def drawn(jobs: Sequence[Job], baseline: Job | None = None) -> dict[str, Any]:
    """What ``jobs/charts.html`` shows of these jobs; the first is the page's own."""
    sources = [
        {"name": job.name, "url": _metrics(job), "baseline": job == baseline and len(jobs) > 1}
        for job in jobs
    ]
    return {
        "sources": json.dumps(sources),
        "charts": [_chart(jobs, *chart, rank=_rank(place)) for place, chart in enumerate(CHARTS)],
        "all_values": _csv(jobs, []),
    }


def _rank(place: int) -> str:
    """``first`` for the rewards, which head the page; ``more`` for what is folded away."""
    return "first" if place < FIRST_CHARTS else "" if place < MAIN_CHARTS else "more"


def _chart(jobs: Sequence[Job], title: str, series: list[str], hint: str, *, rank: str) -> dict[str, Any]:
    return {
        "title": title,
        "series": json.dumps(series),
        "hint": hint,
        "rank": rank,
        "csv": _csv(jobs, series),
    }


def _metrics(job: Job) -> str:
    return reverse("jobs:metrics", args=[job.team.slug, job.uid])


def _csv(jobs: Sequence[Job], series: list[str]) -> str:
    names = [name.removeprefix("+") for name in series]
    asked = {"format": "csv", "with": [job.uid for job in jobs[1:]], "name": names}
    return f"{_metrics(jobs[0])}?{urlencode(asked, doseq=True)}"
