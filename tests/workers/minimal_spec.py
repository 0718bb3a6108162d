"""The shortest job spec: all else has its default."""

from __future__ import annotations

from typing import Any

FILE = {"path": "train.jsonl", "sha256": "a" * 64, "rows": 3}
GRADER = {
    "type": "string_check",
    "name": "g",
    "input": "{{sample.output_text}}",
    "reference": "x",
    "operation": "eq",
}
SPEC: dict[str, Any] = {
    "job_id": "job-1",
    "model_name": "tuned",
    "base_model": {"id": "org/model"},
    "dataset": {"sha256": "d" * 64, "train": FILE},
    "grader": GRADER,
    "grader_sha256": "e" * 64,
}
