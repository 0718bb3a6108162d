"""Alarms during training: the rules of ``contract.health``, applied to its metrics, and their pauses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from workers.contract import health
from workers.contract.events import AlarmEvent, EvaluationEvent, Event
from workers.contract.health.history import BLOCK, EARLY, WINDOW
from workers.contract.spec import AlarmSettings, JobSpec
from workers.engine import errors
from workers.engine.training.rollouts.examples import select_examples
from workers.engine.training.rollouts.measures import Moments, gains
from workers.engine.training.rollouts.recorder import Recorder
from workers.grading import GradeAnswers, Judges, open_grader

FILE = "health.json"


@contextmanager
def open_held_out_grader(spec: JobSpec, judges: Judges) -> Iterator[GradeAnswers | None]:
    """Open the grader that is never trained against; ``None`` if the job has none."""
    if spec.alarm.grader is None:
        yield None
        return
    with open_grader(spec.alarm.grader, seed=spec.seed, judges=judges) as grade:
        yield grade


@dataclass
class Alarms:
    """Applies the rules to each step. Its history is part of checkpoints, so a resume raises the same alarms.

    An alarm is raised when its rule begins to fire, and again only after the rule has not fired for
    ``WINDOW`` steps. After a pause, the rules that always pause start again with an empty history, so that a
    person can resume the job.
    """

    settings: AlarmSettings
    emit: Callable[[Event], None]
    right_from: float | None = None
    _steps: dict[int, dict[str, float]] = field(default_factory=dict)
    _checks: dict[int, float] = field(default_factory=dict)
    _moments: dict[int, Moments] = field(default_factory=dict)
    _fired: dict[str, int] = field(default_factory=dict)
    _since: int = 0

    def measure_gains(self, step: int, recorder: Recorder) -> dict[str, float]:
        """Return ``gain/raw`` and ``gain/length_matched``: the last steps' rewards minus the first steps'."""
        graded = [(float(r.length), r.reward) for r in recorder.rollouts if r.reward is not None]
        self._moments[step] = Moments.from_pairs(graded)
        recent = range(max(EARLY, step - BLOCK) + 1, step + 1)
        self._moments = {n: m for n, m in self._moments.items() if n <= EARLY or n in recent}
        early = Moments.add_up(m for n, m in self._moments.items() if n <= EARLY)
        late = Moments.add_up(m for n, m in self._moments.items() if n in recent)
        if not early.number or not late.number:
            return {}
        raw, matched = gains(early, late)
        return {"gain/raw": raw} | ({} if matched is None else {"gain/length_matched": matched})

    def remember_evaluation(self, event: EvaluationEvent) -> None:
        """Add a validation to the history; other evaluations are ignored."""
        side = event.base if event.step == 0 else event.tuned
        if event.split == "validation" and not event.task and side is not None:
            self._checks[event.step] = side.reward.mean

    def check_step(self, step: int, values: Mapping[str, float], recorder: Recorder) -> errors.Paused | None:
        """Emit the alarms that begin with this step. Return why the job should pause, if it should."""
        self._remember(step, values)
        found = health.find_alarms(self._history())
        new = [each for each in found if step - self._fired.get(each.rule.code, -WINDOW - 1) > WINDOW]
        self._fired |= {finding.rule.code: step for finding in found}
        pausing = next((finding for finding in new if self._pauses(finding)), None)
        for finding in new:
            self.emit(_alarm_event(step, finding, select_examples(finding, recorder), finding is pausing))
        if pausing is None:
            return None
        self._since = step
        self._fired = {code: at for code, at in self._fired.items() if health.BY_CODE[code].kind != "stop"}
        return errors.alarm_raised(step, pausing)

    def _pauses(self, finding: health.Finding) -> bool:
        kind = finding.rule.kind
        return kind == "stop" or (kind == "hacking" and self.settings.pause)

    def _limits(self) -> health.Limits:
        return health.Limits(self.settings.least_entropy, self.settings.no_signal_steps, self.right_from)

    def _history(self) -> health.History:
        steps = [health.Step(number, values) for number, values in sorted(self._steps.items())]
        checks = [health.Check(step, reward) for step, reward in sorted(self._checks.items())]
        return health.History(steps, checks, self._limits(), self._since)

    def _remember(self, step: int, values: Mapping[str, float]) -> None:
        self._steps[step] = health.select_metrics(values)
        needed = health.find_needed_steps(step, sorted(self._checks), self._limits())
        self._steps = {number: known for number, known in self._steps.items() if number in needed}

    # --- across checkpoints ----------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the history into a checkpoint that is not sealed yet."""
        state = {
            "steps": self._steps,
            "checks": self._checks,
            "moments": {step: asdict(moments) for step, moments in self._moments.items()},
            "fired": self._fired,
            "since": self._since,
        }
        (folder / FILE).write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        """Restore the history from a checkpoint, if the checkpoint has one."""
        path = folder / FILE
        if not path.exists():
            return
        state = json.loads(path.read_text())
        self._steps = {int(step): values for step, values in state["steps"].items()}
        self._checks = {int(step): reward for step, reward in state["checks"].items()}
        self._moments = {int(step): Moments(**sums) for step, sums in state["moments"].items()}
        self._fired, self._since = state["fired"], state["since"]


class SilentAlarms(Alarms):
    """Alarms of a control run: raises none and never pauses."""

    def check_step(self, step: int, values: Mapping[str, float], recorder: Recorder) -> None:
        return None


def _alarm_event(step: int, finding: health.Finding, rollouts: list[int], paused: bool) -> AlarmEvent:
    return AlarmEvent(
        step=step,
        code=finding.rule.code,
        message=finding.rule.message,
        threshold=finding.threshold,
        evidence=finding.evidence,
        remedy=finding.rule.remedy,
        rollouts=rollouts,
        paused=paused,
    )
