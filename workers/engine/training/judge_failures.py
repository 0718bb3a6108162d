"""When judges fail too often to go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.contract.events import Rollout
from workers.engine import errors

JUDGE_FAILURES = ("model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error")
WINDOW_STEPS = 20
TOLERATED_SHARE = 0.1


@dataclass
class JudgeWatch:
    """Counts the rollouts whose judge failed in the last steps."""

    _failed: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW_STEPS))

    def step(self, number: int, rollouts: Sequence[Rollout]) -> errors.Paused | None:
        """Why the job should pause: more failures than are tolerated in a whole window, full or not."""
        failures = [rollout for rollout in rollouts if rollout.error_class in JUDGE_FAILURES]
        self._failed.append(len(failures))
        tolerated = TOLERATED_SHARE * WINDOW_STEPS * len(rollouts)
        if sum(self._failed) <= tolerated:
            return None
        where = (
            f"on {sum(self._failed)} answers in the last {len(self._failed)} steps up to step {number} "
            f"(tolerated in {WINDOW_STEPS} steps: {tolerated:.0f})"
        )
        return errors.judge_failing(where, failures[-1].error_detail or "" if failures else "")
