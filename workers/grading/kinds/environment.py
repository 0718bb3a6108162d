"""``environment``: the reward that an episode's own environment gave it."""

from __future__ import annotations

from workers.contract.graders import EnvironmentGrader
from workers.grading.context import GradingContext
from workers.grading.kind import GraderKind
from workers.grading.results import Grade, GradingFault, Subject, one_by_one

NOT_PLAYED = "the completion was not played in an environment: choose one for the job's task"
LOST = "the environment's session was lost, so the episode has no reward"
UNSCORED = "the environment gave the episode no reward"


def open_environment(grader: EnvironmentGrader, context: GradingContext) -> Grade:
    """Return a batch grader that reads the episode of each completion."""
    return one_by_one(_read_reward)


def _read_reward(subject: Subject) -> tuple[float, str]:
    episode = getattr(subject.text, "episode", None)
    if episode is None:
        raise GradingFault("other_error", NOT_PLAYED)
    if episode.reward is None:
        raise GradingFault("other_error", LOST if episode.end == "session_lost" else UNSCORED)
    return float(episode.reward), str(episode.feedback)


KIND = GraderKind(
    definition=EnvironmentGrader,
    label="Environment",
    explanation="The reward that the environment gives an episode. For jobs whose rows are played in one.",
    example={"type": "environment", "name": "outcome"},
    fields=(),
    open=open_environment,
)
