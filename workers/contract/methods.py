"""Training methods, one object each. ``workers.engine.training.methods`` has their trainers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A training method, as forms, pages and model cards describe it.

    ``samples`` is true for methods that train on graded rollouts of their own. Only those show what they
    learn at each step, need a grader while they train, and share the settings of GRPO. A method that
    ``needs_demonstrations`` has them in ``JobSpec.sft``.
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


RFT = Method("rft", "RFT", "GRPO", ("grpo", "reinforcement-learning"), "text-primary", has_preflight=True)
PLACEBO = Method(
    "placebo",
    "Placebo",
    "GRPO on permuted rewards (a control run, to compare another adapter with)",
    ("grpo", "reinforcement-learning", "placebo"),
    "text-muted",
    can_be_baseline=False,
)
SFT = Method(
    "sft",
    "SFT",
    "supervised learning from demonstrations",
    ("sft",),
    "text-accent",
    samples=False,
    needs_demonstrations=True,
)
METHODS = {method.id: method for method in (RFT, PLACEBO, SFT)}
