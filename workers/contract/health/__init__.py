"""What a job's numbers say about its learning: rules with a threshold, the evidence and what to change.

The engine raises alarms by these rules while it trains, and the job page shows them. Metrics have the names
of ``docs/metrics.md``; the sources of the thresholds are in ``docs/health.md``. Rises of rewards are told in
standard deviations, so that a rule holds for any scale of reward. Imports the standard library only.
"""

from workers.contract.health.history import (
    EARLY,
    HELD_OUT,
    REWARD,
    Check,
    History,
    Limits,
    Step,
    needed,
    solved,
)
from workers.contract.health.rules import BY_CODE, RULES, Finding, Rule, findings, plotted, read

__all__ = [
    "BY_CODE",
    "EARLY",
    "HELD_OUT",
    "REWARD",
    "RULES",
    "Check",
    "Finding",
    "History",
    "Limits",
    "Rule",
    "Step",
    "findings",
    "needed",
    "plotted",
    "read",
    "solved",
]
