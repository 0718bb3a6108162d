"""The report of a preflight that advises to train on examples first."""

from __future__ import annotations

from typing import Any

from workers.engine.evaluation.forecast import REMEDIES

INTERVAL = {"mean": 0.5, "low": 0.4, "high": 0.6}
REPORT: dict[str, Any] = {
    "rows": 24, "samples_per_row": 16, "histogram": [380, *[0] * 18, 4], "histogram_low": 0.0,
    "histogram_high": 1.0, "reward": INTERVAL, "pass_curve": [{"k": k, "value": INTERVAL} for k in (1, 16)],
    "no_signal": {"4": INTERVAL, "8": INTERVAL}, "group_size": 8, "truncated_share": 0.0,
    "grading_error_share": 0.0, "spread": 0.1, "detectable": 0.04, "held_out_rows": 120,
    "rows_for_2_points": 480, "verdict": "sft_first", "reason": "Not even one of 16 answers is right.",
    "remedy": REMEDIES["sft_first"],
    "forecast": {
        "step_seconds": 1.0, "train_seconds": {"mean": 50, "low": 30, "high": 80},
        "seconds": {"mean": 60, "low": 40, "high": 90}, "judge_cost": INTERVAL,
    },
}  # fmt: skip
