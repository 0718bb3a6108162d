"""Charts of training metrics, for one job or for several jobs in one chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypedDict
from urllib.parse import urlencode

from django.urls import reverse

from webapp.jobs.models import Job

FIRST_CHARTS, MAIN_CHARTS = 2, 16  # at the top of the page, and shown without unfolding "More charts"
# (title, metrics by name or pattern, hint). A chart is hidden until it has data; metrics with + do not count.
CHARTS = (
    ("Reward", ["reward"], "Mean reward of the step's rollouts, which training maximises."),
    ("Validation reward", ["validation/reward"], "Mean reward on held-out rows that nothing is trained on."),
    ("Held-out grader", ["+reward", "held_out/reward"], "A grader that is never trained against."),
    ("Reward by task", ["tasks/*/reward"], ""),
    ("Reward by grader", ["rewards/*/mean"], "Each grader's own mean."),
    ("Gain", ["gain/raw", "gain/length_matched"], "Reward gain since steps 1–5, raw and at equal length."),
    ("KL to the initial model", ["kl_to_base"], "How far the policy has moved (k3)."),
    ("Entropy", ["entropy"], "Near 0 the model has stopped exploring."),
    ("Completion length", ["completions/mean_length", "completions/max_length"], "Tokens."),
    ("Groups without signal", ["groups/no_signal_share"], "Equal rewards in a group give no gradient."),
    ("Truncated completions", ["completions/truncated_share"], "Cut at the length limit."),
    ("Grading failures", ["grading/error_share", "grading/missing_share"], "Share of rollouts."),
    ("Turns and tool calls", ["episodes/turns", "episodes/tool_calls"], "Per episode, mean."),
    ("Ends of episodes", ["episodes/end/*"], "Share of episodes by the reason of their end."),
    ("Tool errors", ["episodes/tool_error_share", "tools/*/error_share"], "Share of calls."),
    ("Environment time", ["time/environment"], "Seconds per step in environments, of all episodes."),
    ("Spread within groups", ["groups/reward_std"], "Standard deviation of rewards; 0 gives no gradient."),
    ("Calls by tool", ["tools/*/calls"], "Per episode, mean."),
    ("Repeated calls", ["episodes/repeated_call_share"], "Share of calls that equal an earlier one."),
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


class Chart(TypedDict):
    """A chart of ``jobs/chart.html``. ``series`` is a JSON list of metric names and patterns."""

    title: str
    series: str
    hint: str
    rank: str
    csv: str


def build_charts_context(jobs: Sequence[Job], baseline: Job | None = None) -> dict[str, object]:
    """Return the context of ``jobs/charts.html``; the first job is the page's own."""
    sources = [
        {"name": job.name, "url": _metrics_url(job), "baseline": job == baseline and len(jobs) > 1}
        for job in jobs
    ]
    return {
        "sources": json.dumps(sources),
        "charts": [
            Chart(
                title=title,
                series=json.dumps(series),
                hint=hint,
                rank="first" if index < FIRST_CHARTS else "" if index < MAIN_CHARTS else "more",
                csv=_csv_url(jobs, series),
            )
            for index, (title, series, hint) in enumerate(CHARTS)
        ],
        "all_values": _csv_url(jobs, []),
    }


def _metrics_url(job: Job) -> str:
    return reverse("jobs:metrics", args=[job.team.slug, job.uid])


def _csv_url(jobs: Sequence[Job], series: list[str]) -> str:
    names = [name.removeprefix("+") for name in series]
    query = {"format": "csv", "with": [job.uid for job in jobs[1:]], "name": names}
    return f"{_metrics_url(jobs[0])}?{urlencode(query, doseq=True)}"
