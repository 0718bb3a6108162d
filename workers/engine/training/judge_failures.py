"""The limit of failing judges beyond which a job pauses."""

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
class JudgeFailures:
    """Counts the rollouts of the last steps whose judge failed."""

    _counts: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW_STEPS))

    def check_step(self, number: int, rollouts: Sequence[Rollout]) -> errors.Paused | None:
        """Return why the job should pause, if it should.

        The limit is a share of a whole window, also while the window is not full yet.
        """
        failures = [rollout for rollout in rollouts if rollout.error_class in JUDGE_FAILURES]
        self._counts.append(len(failures))
        tolerated = TOLERATED_SHARE * WINDOW_STEPS * len(rollouts)
        if sum(self._counts) <= tolerated:
            return None
        where = (
            f"on {sum(self._counts)} completions in the last {len(self._counts)} steps up to step {number} "
            f"(tolerated in {WINDOW_STEPS} steps: {tolerated:.0f})"
        )
        return errors.judge_failing(where, failures[-1].error_detail or "" if failures else "")
