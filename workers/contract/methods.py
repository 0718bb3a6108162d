"""Training methods: one object a method. ``workers.engine.training.methods`` trains by each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """How a job trains, as forms, pages and model cards describe it.

    ``samples`` is true for methods that train on graded rollouts of their own. Only those show what they
    learn at each step, need a grader while they train, and share the settings of GRPO.
    """

    id: str
    label: str
    description: str
    tags: tuple[str, ...]
    colour: str
    samples: bool = True
    has_preflight: bool = False
    can_be_baseline: bool = True


RFT = Method("rft", "RFT", "GRPO", ("grpo", "reinforcement-learning"), "text-primary", has_preflight=True)
PLACEBO = Method(
    "placebo",
    "Placebo",
    "GRPO on rewards dealt out at random (a placebo, to compare another adapter with)",
    ("grpo", "reinforcement-learning", "placebo"),
    "text-muted",
    can_be_baseline=False,
)
SFT = Method("sft", "SFT", "supervised learning from demonstrations", ("sft",), "text-accent", samples=False)
METHODS = {method.id: method for method in (RFT, PLACEBO, SFT)}
