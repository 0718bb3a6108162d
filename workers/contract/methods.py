"""Training methods, one object each. ``workers.engine.training.methods`` has their trainers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ControlRun:
    """Texts of a method whose jobs are control runs of an RFT job.

    ``question`` is what the comparison answers, ``purpose`` stands beside the button that launches one, and
    ``summary`` on the page of its job.
    """

    question: str
    purpose: str
    summary: str


@dataclass(frozen=True)
class Method:
    """A training method, as forms, pages and model cards describe it.

    ``samples`` is true for methods that train on graded rollouts of their own. Only those show what they
    learn at each step, need a grader while they train, and share the settings of GRPO. A method that
    ``needs_demonstrations`` has them in ``JobSpec.sft``. One that cannot be a baseline has rewards without
    meaning: a gain over it comes from the reward.
    """

    id: str
    label: str
    description: str
    tags: tuple[str, ...]
    colour: str
    samples: bool = True
    needs_demonstrations: bool = False
    has_preflight: bool = False
    can_be_baseline: bool = True
    control_run: ControlRun | None = None

    @property
    def label_in_text(self) -> str:
        """The label inside a sentence."""
        return self.label if self.label.isupper() else self.label.lower()


RFT = Method("rft", "RFT", "GRPO", ("grpo", "reinforcement-learning"), "text-primary", has_preflight=True)
SFT = Method(
    "sft",
    "SFT",
    "supervised learning from demonstrations",
    ("sft",),
    "text-accent",
    samples=False,
    needs_demonstrations=True,
    control_run=ControlRun(
        question="Would SFT have been enough?",
        purpose="An adapter of the same size is trained on demonstrations of the same rows.",
        summary="Trained on demonstrations",
    ),
)
PLACEBO = Method(
    "placebo",
    "Placebo",
    "GRPO on permuted rewards (a control run, to compare another adapter with)",
    ("grpo", "reinforcement-learning", "placebo"),
    "text-muted",
    can_be_baseline=False,
    control_run=ControlRun(
        question="How much is gained from random rewards?",
        purpose="The same job, but each step's rewards are shuffled among its completions. What it still "
        "gains does not come from the reward.",
        summary="Trained on random rewards",
    ),
)

METHODS = {method.id: method for method in (RFT, SFT, PLACEBO)}
"""All methods by id; pages show control runs in this order."""
